// What the keys do on the watch page: one table for the handler and the help.

import { signal } from '@preact/signals';
import type { Player } from './player';

export interface Deeds {
  player: Player;
  fullscreen(): void;
  setPoint(which: 'start' | 'end'): void;
  canClip: boolean;
  help(): void;
  /** Opens the field for a time. */
  goTo(): void;
}

const PLACE = 'touchline.keys';

/** Whether single keys act on the whole page: who speaks to the computer may not want that. */
export const areKeysOn = signal(localStorage.getItem(PLACE) !== 'off');

export function setKeysOn(isOn: boolean): void {
  areKeysOn.value = isOn;
  if (isOn) localStorage.removeItem(PLACE);
  else localStorage.setItem(PLACE, 'off');
}

interface Shortcut {
  keys: string[];
  /** As the help shows it. */
  shown: string;
  text: string;
  isForClips?: boolean;
  act(deeds: Deeds, key: string): void;
}

export const SHORTCUTS: Shortcut[] = [
  { keys: [' ', 'k'], shown: 'Space or K', text: 'Play or pause', act: ({ player }) => player.toggle() },
  { keys: ['ArrowLeft'], shown: '←', text: 'Back 5 seconds', act: ({ player }) => player.skip(-5) },
  { keys: ['ArrowRight'], shown: '→', text: 'On 5 seconds', act: ({ player }) => player.skip(5) },
  { keys: ['j'], shown: 'J', text: 'Back 10 seconds', act: ({ player }) => player.skip(-10) },
  { keys: ['l'], shown: 'L', text: 'On 10 seconds', act: ({ player }) => player.skip(10) },
  { keys: [','], shown: ',', text: 'Back one frame', act: ({ player }) => player.step(-1) },
  { keys: ['.'], shown: '.', text: 'On one frame', act: ({ player }) => player.step(1) },
  { keys: ['<'], shown: '<', text: 'Slower', act: ({ player }) => player.faster(-1) },
  { keys: ['>'], shown: '>', text: 'Faster', act: ({ player }) => player.faster(1) },
  { keys: ['Home'], shown: 'Home', text: 'To the beginning', act: ({ player }) => void player.seek(0) },
  {
    keys: ['End'],
    shown: 'End',
    text: 'To the end of what can be watched',
    act: ({ player }) => player.skip(Infinity),
  },
  { keys: ['i'], shown: 'I', text: 'Clip starts here', isForClips: true, act: (deeds) => deeds.setPoint('start') },
  { keys: ['o'], shown: 'O', text: 'Clip ends here', isForClips: true, act: (deeds) => deeds.setPoint('end') },
  { keys: ['g'], shown: 'G', text: 'Go to a time', act: (deeds) => deeds.goTo() },
  { keys: ['m'], shown: 'M', text: 'Sound on or off', act: ({ player }) => player.setMuted(!player.isMuted.value) },
  { keys: ['f'], shown: 'F', text: 'Full screen', act: (deeds) => deeds.fullscreen() },
  { keys: ['?'], shown: '?', text: 'This help', act: (deeds) => deeds.help() },
];

/** Acts on a key unless it is meant for a control that is focused; gives whether it did. */
export function onKey(event: KeyboardEvent, deeds: Deeds): boolean {
  if (!areKeysOn.value || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest('input, textarea, select, [role="menu"]')) return false;
  // Buttons and links are pressed with these.
  if ((event.key === ' ' || event.key === 'Enter') && target?.closest('button, a, summary')) return false;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shortcut = SHORTCUTS.find((s) => s.keys.includes(key));
  if (!shortcut || (shortcut.isForClips && !deeds.canClip)) return false;
  shortcut.act(deeds, key);
  return true;
}
