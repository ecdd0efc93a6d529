// A job after an event of progress, which carries only what changed.

import type { Job, JobEvent, JobState } from './types';

const STATES: readonly string[] = [
  'queued',
  'planning',
  'running',
  'publishing',
  'succeeded',
  'failed',
  'cancelled',
] satisfies JobState[];

export function progressed(job: Job, event: JobEvent): Job {
  const { state, watchable_ms, progress } = event.data;
  const watchable = typeof watchable_ms === 'number' ? watchable_ms : job.watchable_ms;
  return {
    ...job,
    state: typeof state === 'string' && STATES.includes(state) ? (state as JobState) : job.state,
    watchable_ms: watchable,
    progress: typeof progress === 'number' ? progress : job.progress,
    playable: job.playable || watchable > 0,
  };
}
