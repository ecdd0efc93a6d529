// A match as a line: what is watchable is filled, what is not yet is hatched.

import { percent } from '../text/size';

interface Props {
  /** Share of the whole that can be watched, 0 to 1. */
  share: number;
  label: string;
}

export function MatchBar({ share, label }: Props) {
  const now = Math.round(Math.min(1, Math.max(0, share)) * 100);
  return (
    <div
      class="match-bar"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={now}
      aria-valuetext={percent(share)}
    >
      <div class="match-bar-fill" style={{ width: `${now}%` }} />
    </div>
  );
}
