import { render } from 'preact';
import { App } from './app';
import { followLinks } from './router';
import { takeKeyFromAddress } from './session';
import './styles/tokens.css';
import './styles/base.css';
import './styles/parts.css';
import './styles/frame.css';
import './styles/matches.css';
import './styles/watch.css';
import './styles/player.css';
import './styles/clips.css';
import './styles/fleet.css';
import './theme';

takeKeyFromAddress();
followLinks();
const root = document.getElementById('app');
if (root) render(<App />, root);
