// The list of matches, kept up to date by events.

import { computed, signal } from '@preact/signals';
import { call } from '../api/client';
import { describe } from '../api/problem';
import { listen } from '../api/events';
import type { Job, JobEvent, Page } from '../api/types';
import { announce } from '../ui/notices';
import { say } from '../text/state';

export type Filter = 'all' | 'work' | 'ready' | 'failed';

const STATES: Record<Filter, string | null> = {
  all: null,
  work: 'queued,planning,running,publishing',
  ready: 'succeeded',
  failed: 'failed,cancelled',
};

/** Null until the first answer. */
export const jobs = signal<Job[] | null>(null);
export const filter = signal<Filter>('all');
export const query = signal('');
export const listError = signal<string | null>(null);
export const isLive = signal(true);
const cursor = signal<string | null>(null);
export const hasMore = computed(() => cursor.value !== null);

let request = new AbortController();

function address(from: string | null): string {
  const asked = new URLSearchParams({ limit: '30' });
  const states = STATES[filter.value];
  if (states) asked.set('state', states);
  if (query.value.trim() !== '') asked.set('q', query.value.trim());
  if (from) asked.set('cursor', from);
  return `/v1/jobs?${asked}`;
}

/** Reads the list anew; an older answer that is still on its way is dropped. */
export async function load(): Promise<void> {
  request.abort();
  request = new AbortController();
  const { signal: stop } = request;
  try {
    const page = await call<Page<Job>>(address(null), { signal: stop });
    jobs.value = page.items;
    cursor.value = page.next_cursor;
    listError.value = null;
  } catch (error) {
    if (!stop.aborted) listError.value = describe(error);
  }
}

export async function more(): Promise<void> {
  const page = await call<Page<Job>>(address(cursor.value));
  const known = new Set((jobs.value ?? []).map((j) => j.id));
  jobs.value = [...(jobs.value ?? []), ...page.items.filter((j) => !known.has(j.id))];
  cursor.value = page.next_cursor;
}

/** Listens until the function that it gives is called. */
export function follow(): () => void {
  return listen(null, {
    onEvent: (event) => {
      jobs.value = jobs.value && apply(jobs.value, event, matches);
      if (event.job && (event.type === 'job.succeeded' || event.type === 'job.failed' || event.type === 'job.playable')) {
        announce(`${event.job.title}: ${say(event.job).long}`);
      }
    },
    onOpen: (again) => {
      isLive.value = true;
      if (again) void load();
    },
    onLost: () => (isLive.value = false),
  });
}

function matches(job: Job): boolean {
  const states = STATES[filter.value];
  const words = query.value.trim().toLowerCase();
  return (!states || states.split(',').includes(job.state)) && job.title.toLowerCase().includes(words);
}

/** The list after an event. */
export function apply(list: Job[], event: JobEvent, belongs: (job: Job) => boolean): Job[] {
  const at = list.findIndex((j) => j.id === event.job_id);
  const known = list[at];
  if (event.job) {
    const job = event.job;
    if (!belongs(job)) return known ? list.filter((j) => j.id !== job.id) : list;
    if (known) return list.with(at, job);
    return event.type === 'job.created' ? [job, ...list] : list;
  }
  if (!known || event.type !== 'job.progress') return list;
  const { watchable_ms, progress } = event.data;
  return list.with(at, {
    ...known,
    watchable_ms: typeof watchable_ms === 'number' ? watchable_ms : known.watchable_ms,
    progress: typeof progress === 'number' ? progress : known.progress,
  });
}
