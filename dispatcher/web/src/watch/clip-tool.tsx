// Cuts a clip: where it starts, where it ends, what it is called.

import { type Signal, useSignal } from '@preact/signals';
import { call, intention } from '../api/client';
import { describe } from '../api/problem';
import type { Clip } from '../api/types';
import { clock, parseClock } from '../text/time';
import { announce, notice } from '../ui/notices';
import type { Match } from './match';

export interface Points {
  start: number | null;
  end: number | null;
}

interface Props {
  match: Match;
  points: Signal<Points>;
  setPoint: (which: 'start' | 'end') => void;
}

export function ClipTool({ match, points, setPoint }: Props) {
  const title = useSignal('');
  const isBusy = useSignal(false);
  const { start, end } = points.value;
  const length = start !== null && end !== null ? end - start : null;

  const save = async (event: Event) => {
    event.preventDefault();
    if (start === null || end === null) return;
    isBusy.value = true;
    try {
      const body = { start_s: start, end_s: end, title: title.value.trim() || `Clip at ${clock(start)}` };
      const clip = await call<Clip>(`/v1/jobs/${match.id}/clips`, { method: 'POST', body, once: intention() });
      match.clips.value = [...match.clips.value, clip].toSorted((a, b) => a.start_s - b.start_s);
      points.value = { start: null, end: null };
      title.value = '';
      announce(`Clip saved: ${clip.title}`);
    } catch (error) {
      notice(describe(error), true);
    } finally {
      isBusy.value = false;
    }
  };

  return (
    <form class="panel clip-tool" onSubmit={save} aria-labelledby="clip-tool-title">
      <h2 id="clip-tool-title" class="panel-title">
        New clip
      </h2>
      <div class="points">
        <Point which="start" label="Start" hint="I" points={points} setPoint={setPoint} match={match} />
        <Point which="end" label="End" hint="O" points={points} setPoint={setPoint} match={match} />
      </div>
      <label class="field">
        <span>Title</span>
        <input
          class="input"
          name="title"
          maxLength={200}
          placeholder={start === null ? 'What happens in it' : `Clip at ${clock(start)}`}
          value={title.value}
          onInput={(event) => (title.value = event.currentTarget.value)}
        />
      </label>
      <div class="clip-tool-foot">
        <span class="muted small" aria-live="polite">
          {length === null ? 'Mark where it starts and ends.' : `${length.toFixed(1)} seconds`}
        </span>
        <button type="submit" class="button primary" disabled={length === null || isBusy.value}>
          Save clip
        </button>
      </div>
    </form>
  );
}

interface PointProps extends Props {
  which: 'start' | 'end';
  label: string;
  hint: string;
}

function Point({ which, label, hint, points, setPoint, match }: PointProps) {
  const at = points.value[which];
  const error = useSignal<string | null>(null);
  /** What is being typed: the page is drawn anew each second while the match is made. */
  const draft = useSignal<string | null>(null);
  const change = (text: string) => {
    draft.value = null;
    const parsed = text.trim() === '' ? null : parseClock(text);
    const other = points.value[which === 'start' ? 'end' : 'start'];
    const isOrdered = parsed === null || other === null || (which === 'start' ? parsed < other : parsed > other);
    if (parsed === null && text.trim() !== '') error.value = 'Give a time such as 12:34.';
    else if (!isOrdered) error.value = which === 'start' ? 'It starts before it ends.' : 'It ends after it starts.';
    else error.value = null;
    if (error.value !== null) return;
    points.value = { ...points.value, [which]: parsed };
    if (parsed !== null) match.player.seek(parsed);
  };
  const here = () => {
    error.value = null;
    draft.value = null;
    setPoint(which);
  };
  return (
    <div class="point">
      <label class="field">
        <span>{label}</span>
        <input
          class="input mono"
          name={which}
          inputMode="decimal"
          placeholder="0:00.00"
          value={draft.value ?? (at === null ? '' : clock(at, true))}
          aria-invalid={error.value !== null}
          aria-describedby={error.value === null ? undefined : `${which}-error`}
          onInput={(event) => (draft.value = event.currentTarget.value)}
          onChange={(event) => change(event.currentTarget.value)}
        />
      </label>
      {error.value !== null && (
        <p id={`${which}-error`} class="error-text small" role="alert">
          {error.value}
        </p>
      )}
      <button type="button" class="button small" onClick={here} title={`${label} here (${hint})`}>
        {label} here
      </button>
    </div>
  );
}
