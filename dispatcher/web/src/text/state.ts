// What a job is doing, in words for a coach.

import type { Job } from '../api/types';
import { percent } from './size';
import { clock, roughly } from './time';

export type Tone = 'calm' | 'busy' | 'good' | 'bad';

export interface Saying {
  /** A word or two. */
  short: string;
  /** A sentence. */
  long: string;
  tone: Tone;
}

export function isAtWork(job: Job): boolean {
  return job.state === 'queued' || job.state === 'planning' || job.state === 'running' || job.state === 'publishing';
}

/** Whether trying again may help: not where the video itself is the cause. */
export function canRetry(job: Job): boolean {
  return job.state === 'cancelled' || (job.state === 'failed' && job.failure?.retryable !== false);
}

/** Seconds until all can be watched, from how long it took so far; null when it cannot be told yet. */
export function remaining(job: Job, now = Date.now()): number | null {
  if (job.state !== 'running' || job.planned_at === null || job.progress < 0.03) return null;
  const elapsed = (now - Date.parse(job.planned_at)) / 1000;
  return elapsed <= 3 ? null : (elapsed * (1 - job.progress)) / job.progress;
}

export function say(job: Job, now = Date.now()): Saying {
  switch (job.state) {
    case 'queued':
      return { short: 'Waiting', long: 'Waiting for a machine. This usually takes a moment.', tone: 'calm' };
    case 'planning':
      return { short: 'Starting', long: 'Looking at the video before the work starts.', tone: 'busy' };
    case 'running': {
      const left = remaining(job, now);
      const rest = left === null ? '' : `, ${roughly(left)} left`;
      const long = job.playable
        ? `The first ${clock(job.watchable_ms / 1000)} can be watched. ${percent(job.progress)} is done${rest}.`
        : `Preparing the first minutes. ${percent(job.progress)} is done${rest}.`;
      return { short: job.playable ? 'Watch now' : 'Preparing', long, tone: 'busy' };
    }
    case 'publishing':
      return { short: 'Finishing', long: 'All of it is done; finishing the last files.', tone: 'busy' };
    case 'succeeded':
      return { short: 'Ready', long: 'Ready to watch.', tone: 'good' };
    case 'failed':
      return { short: 'Failed', long: job.failure?.message ?? 'This video could not be prepared.', tone: 'bad' };
    case 'cancelled':
      return { short: 'Cancelled', long: 'Cancelled before it was finished.', tone: 'calm' };
  }
}
