// Light or dark: as the system says, until the person chooses.

import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';

const PLACE = 'touchline.theme';
const stored = localStorage.getItem(PLACE);

export const theme = signal<Theme>(stored === 'light' || stored === 'dark' ? stored : 'system');

effect(() => {
  const chosen = theme.value;
  if (chosen === 'system') {
    localStorage.removeItem(PLACE);
    delete document.documentElement.dataset['theme'];
  } else {
    localStorage.setItem(PLACE, chosen);
    document.documentElement.dataset['theme'] = chosen;
  }
});
