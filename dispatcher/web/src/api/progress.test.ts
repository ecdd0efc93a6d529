import { expect, it } from 'vitest';
import { aJob } from '../fixtures';
import { progressed } from './progress';

const event = (data: Record<string, unknown>) => ({ type: 'job.progress', at: '', job_id: aJob().id, data });

it('moves a job on, and makes it playable with its first second', () => {
  const job = progressed(aJob({ state: 'planning' }), event({ state: 'running', watchable_ms: 6000, progress: 0.1 }));
  expect([job.state, job.watchable_ms, job.progress, job.playable]).toEqual(['running', 6000, 0.1, true]);
});

it('keeps what an event does not tell, and what a later version may call it', () => {
  const before = aJob({ state: 'running', watchable_ms: 6000, progress: 0.1, playable: true });
  expect(progressed(before, event({ state: 'polishing' }))).toEqual(before);
});
