import { expect, it } from 'vitest';
import { aJob } from '../fixtures';
import { canRetry, remaining, say } from './state';

const now = Date.parse('2026-11-21T12:10:00Z');

it('tells how much can be watched, and how long the rest takes', () => {
  const job = aJob({
    state: 'running',
    playable: true,
    progress: 0.25,
    watchable_ms: 754_000,
    planned_at: '2026-11-21T12:00:00Z',
  });
  expect(say(job, now).long).toBe('The first 12:34 can be watched. 25 % is done, about 30 min left.');
});

it('promises no time before it can know one', () => {
  const job = aJob({ state: 'running', progress: 0.01, planned_at: '2026-11-21T12:00:00Z' });
  expect(remaining(job, now)).toBeNull();
  expect(say(job, now).long).toBe('Preparing the first minutes. 1 % is done.');
});

it('gives the sentence of the failure', () => {
  const failure = { code: 'no_video', message: 'This file has no picture.', retryable: false, detail: null };
  expect(say(aJob({ state: 'failed', failure }), now)).toEqual({ short: 'Failed', long: failure.message, tone: 'bad' });
});

it('offers another try where one may help', () => {
  const failure = { code: 'engine_hung', message: 'Something went wrong on our side.', retryable: true, detail: null };
  expect(canRetry(aJob({ state: 'failed', failure }))).toBe(true);
  expect(canRetry(aJob({ state: 'failed', failure: { ...failure, retryable: false } }))).toBe(false);
  expect(canRetry(aJob({ state: 'cancelled' }))).toBe(true);
  expect(canRetry(aJob({ state: 'succeeded' }))).toBe(false);
});
