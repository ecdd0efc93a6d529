// A link that plays without a key.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { call, intention } from '../api/client';
import { describe } from '../api/problem';
import type { Share } from '../api/types';
import { Dialog } from '../ui/dialog';
import { notice } from '../ui/notices';

const DAY = 86_400;
const TERMS: [string, number][] = [
  ['One day', DAY],
  ['One week', 7 * DAY],
  ['One month', 30 * DAY],
];

export function ShareDialog({ path, title, onClose }: { path: string; title: string; onClose: () => void }) {
  const seconds = useSignal(7 * DAY);
  const share = useSignal<Share | null>(null);
  const error = useSignal<string | null>(null);
  const isBusy = useSignal(false);
  /** The browser does not let us copy: the person has to. */
  const isByHand = useSignal(false);
  const input = useRef<HTMLInputElement>(null);
  const url = share.value ? new URL(share.value.url, location.href).href : null;

  // The button that was pressed is gone; the link takes its place.
  useEffect(() => {
    if (url) input.current?.focus();
  }, [url]);

  const make = async () => {
    error.value = null;
    isBusy.value = true;
    try {
      share.value = await call<Share>(path, {
        method: 'POST',
        body: { expires_in_s: seconds.value },
        once: intention(),
      });
    } catch (problem) {
      error.value = describe(problem);
    } finally {
      isBusy.value = false;
    }
  };
  const copy = async () => {
    if (!url) return;
    try {
      await navigator.clipboard.writeText(url);
      onClose();
      notice('The link is copied.');
    } catch {
      // No permission, or plain HTTP: selected, it can be copied by hand.
      isByHand.value = true;
      input.current?.focus();
    }
  };

  return (
    <Dialog title={`Share “${title}”`} onClose={onClose}>
      <p class="muted">Whoever has the link can watch without signing in, until it ends. It cannot be taken back.</p>
      {share.value ? (
        <p>It plays until {until(share.value.expires_at)}.</p>
      ) : (
        <fieldset class="terms">
          <legend>The link is good for</legend>
          {TERMS.map(([label, value]) => (
            <label key={value}>
              <input
                type="radio"
                name="term"
                checked={seconds.value === value}

                onChange={() => (seconds.value = value)}
              />
              {label}
            </label>
          ))}
        </fieldset>
      )}
      {error.value && (
        <p class="error-text" role="alert">
          {error.value}
        </p>
      )}
      {url ? (
        <div class="share-link">
          <input
            ref={input}
            class="input mono"
            readOnly
            value={url}
            aria-label="Link"
            onFocus={(event) => event.currentTarget.select()}
          />
          <button type="button" class="button primary" onClick={() => void copy()}>
            Copy
          </button>
        </div>
      ) : (
        <button type="button" class="button primary" disabled={isBusy.value} onClick={() => void make()}>
          Make a link
        </button>
      )}
      {isByHand.value && (
        <p class="muted" role="status">
          The link is selected: copy it with Ctrl+C, or with a long press on a phone.
        </p>
      )}
    </Dialog>
  );
}

function until(iso: string): string {
  return new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(iso));
}
