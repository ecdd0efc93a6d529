import { describe, expect, it, vi } from 'vitest';
import type { JobEvent } from '../api/types';
import { aJob } from '../fixtures';

// The module keeps the session's key in localStorage and listens to the window: neither matters here.
vi.stubGlobal('localStorage', { getItem: () => null });
vi.stubGlobal('addEventListener', () => undefined);
const { apply } = await import('./jobs');

const event = (changes: Partial<JobEvent>): JobEvent => ({
  type: 'job.progress',
  at: '',
  job_id: aJob().id,
  data: {},
  job: null,
  ...changes,
});
const all = () => true;

describe('apply', () => {
  it('moves a match on', () => {
    const [job] = apply([aJob()], event({ data: { watchable_ms: 6000, progress: 0.5 } }), all);
    expect([job?.watchable_ms, job?.progress]).toEqual([6000, 0.5]);
  });

  it('puts a new match first', () => {
    const other = aJob({ id: 'other' });
    expect(apply([aJob()], event({ type: 'job.created', job_id: 'other', job: other }), all)[0]).toBe(other);
  });

  it('takes out what the filter no longer shows', () => {
    const job = aJob({ state: 'failed' });
    expect(apply([aJob()], event({ type: 'job.failed', job }), (j) => j.state !== 'failed')).toEqual([]);
  });

  it('takes out what was deleted', () => {
    expect(apply([aJob()], event({ type: 'job.deleted' }), all)).toEqual([]);
  });

  it('keeps quiet about matches further down the list', () => {
    const list = [aJob()];
    expect(apply(list, event({ job_id: 'unknown', data: { progress: 1 } }), all)).toBe(list);
    expect(apply(list, event({ type: 'job.succeeded', job_id: 'unknown', job: aJob({ id: 'unknown' }) }), all)).toBe(
      list,
    );
  });
});
