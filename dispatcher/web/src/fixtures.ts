// Values for tests.

import type { Job } from './api/types';

export function aJob(changes: Partial<Job> = {}): Job {
  return {
    id: '0192f000-0000-7000-8000-000000000001',
    organisation_id: '0192f000-0000-7000-8000-0000000000aa',
    title: 'Rovers v United',
    state: 'queued',
    source: 'upload',
    ladder: 'sports',
    encoder: 'auto',
    backend: null,
    home_region: 'local',
    created_at: '2026-11-21T11:59:00Z',
    planned_at: null,
    first_playable_at: null,
    finished_at: null,
    ready_by: null,
    duration_ms: 5_400_000,
    watchable_ms: 0,
    progress: 0,
    frame_rate: { num: 25, den: 1 },
    failure: null,
    warnings: [],
    playable: false,
    complete: false,
    upload_id: null,
    ...changes,
  };
}
