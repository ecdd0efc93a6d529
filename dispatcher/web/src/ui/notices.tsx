// What just happened: shown for a moment, and said by screen readers.

import { signal } from '@preact/signals';
import { Icon } from './icons';

interface Notice {
  id: number;
  text: string;
  isBad: boolean;
}

const notices = signal<Notice[]>([]);
const spoken = signal('');
let count = 0;

/** Says something to screen readers alone. */
export function announce(text: string): void {
  // The same words twice would not be said again.
  spoken.value = text === spoken.peek() ? `${text}\u00a0` : text;
}

export function notice(text: string, isBad = false): void {
  const id = (count += 1);
  notices.value = [...notices.value.slice(-2), { id, text, isBad }];
  announce(text);
  setTimeout(() => dismiss(id), isBad ? 12_000 : 6000);
}

function dismiss(id: number): void {
  notices.value = notices.value.filter((n) => n.id !== id);
}

export function Notices() {
  return (
    <>
      <p class="sr-only" role="status" aria-live="polite">
        {spoken}
      </p>
      <div class="notices">
        {notices.value.map((n) => (
          <div key={n.id} class={n.isBad ? 'notice bad' : 'notice'}>
            <span>{n.text}</span>
            <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => dismiss(n.id)}>
              <Icon name="close" />
            </button>
          </div>
        ))}
      </div>
    </>
  );
}
