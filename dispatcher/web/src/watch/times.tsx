// Where the player is, and a field to go elsewhere: the way to a minute without a pointer.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { clock, parseClock } from '../text/time';
import type { Player } from './player';

interface Props {
  player: Player;
  /** Somebody wants to see a place that is not there yet; null where nothing can be asked for. */
  onBeyond: ((at: number) => void) | null;
}

export function Times({ player, onBeyond }: Props) {
  const isOpen = useSignal(false);
  const button = useRef<HTMLButtonElement>(null);
  const close = (keepsFocus: boolean) => {
    isOpen.value = false;
    if (keepsFocus) requestAnimationFrame(() => button.current?.focus());
  };
  const isStill = player.isPaused.value;
  if (isOpen.value) return <GoTo player={player} onBeyond={onBeyond} onClose={close} />;
  return (
    <button ref={button} type="button" class="times" title="Go to a time (G)" onClick={() => (isOpen.value = true)}>
      <span class="sr-only">Go to another time, now at </span>
      <span class="times-now">{clock(player.time.value, isStill)}</span>
      <span class="times-whole"> / {clock(player.duration.value)}</span>
    </button>
  );
}

function GoTo({ player, onBeyond, onClose }: Props & { onClose: (keepsFocus: boolean) => void }) {
  const error = useSignal<string | null>(null);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.select(), []);
  const go = (event: Event) => {
    event.preventDefault();
    const to = parseClock(input.current?.value ?? '');
    const whole = player.duration.value;
    if (to === null) error.value = 'Give a time such as 43:10.';
    else if (whole > 0 && to > whole) error.value = `It ends at ${clock(whole)}.`;
    else if (player.seek(to)) onClose(true);
    else if (onBeyond === null) error.value = `It can be watched up to ${clock(player.watchable.value)}.`;
    else {
      onBeyond(to);
      onClose(true);
    }
    if (error.value !== null) input.current?.select();
  };
  return (
    <form class="go-to" onSubmit={go} noValidate>
      <input
        ref={input}
        class="input mono"
        aria-label="Go to"
        inputMode="decimal"
        autocomplete="off"
        defaultValue={clock(player.time.value)}
        aria-invalid={error.value !== null}
        aria-describedby={error.value === null ? undefined : 'go-to-error'}
        onKeyDown={(event) => {
          if (event.key !== 'Escape') return;
          event.stopPropagation();
          event.preventDefault();
          onClose(true);
        }}
        onBlur={(event) => {
          if (!event.currentTarget.form?.contains(event.relatedTarget as Node | null)) onClose(false);
        }}
      />
      <button type="submit" class="button small">
        Go
      </button>
      {error.value !== null && (
        <span id="go-to-error" class="go-to-error" role="alert">
          {error.value}
        </span>
      )}
    </form>
  );
}
