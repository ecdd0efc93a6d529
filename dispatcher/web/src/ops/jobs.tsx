// Jobs as operators see them.

import type { Job } from '../api/types';
import { percent } from '../text/size';
import { say } from '../text/state';
import { ago, clock } from '../text/time';
import type { Column, Sheet } from './table';

const job: Column<Job> = { name: 'Job', cell: (j) => <a href={`/jobs/${j.id}`}>{j.title}</a> };
const organisation: Column<Job> = {
  name: 'Organisation',
  cell: (j) => (
    <span class="mono small" title={j.organisation_id}>
      {j.organisation_id.slice(0, 8)}
    </span>
  ),
};

export const openJobs: Sheet<Job> = {
  caption: 'Jobs that are open, the newest first',
  columns: [
    job,
    {
      name: 'State',
      cell: (j) => <span class={`state ${j.state === 'queued' ? 'warn' : 'good'}`}>{say(j).short}</span>,
    },
    { name: 'Encoded', isNumber: true, cell: (j) => percent(j.progress) },
    { name: 'Watchable', isNumber: true, cell: (j) => clock(j.watchable_ms / 1000) },
    organisation,
    { name: 'Region', cell: (j) => j.home_region },
    { name: 'Came', cell: (j) => ago(j.created_at) },
  ],
  keyOf: (j) => j.id,
  empty: 'No job is open.',
};

export const failedJobs: Sheet<Job> = {
  caption: 'Jobs that failed, the newest first',
  columns: [
    job,
    { name: 'Code', cell: (j) => <span class="mono">{j.failure?.code}</span> },
    { name: 'Detail', cell: (j) => j.failure?.detail ?? j.failure?.message },
    organisation,
    { name: 'When', cell: (j) => ago(j.finished_at ?? j.created_at) },
  ],
  keyOf: (j) => j.id,
  empty: 'No job has failed.',
};
