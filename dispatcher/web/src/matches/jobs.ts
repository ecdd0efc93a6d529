// The list of matches, kept up to date by events.

import { computed, signal } from '@preact/signals';
import { call } from '../api/client';
import { describe } from '../api/problem';
import { listen } from '../api/events';
import { progressed } from '../api/progress';
import type { Job, JobEvent, JobState, Page } from '../api/types';
import { onOtherPerson } from '../session';
import { announce } from '../ui/notices';
import { dismissMatch } from '../upload/transfers';
import { say } from '../text/state';

export type Filter = 'all' | 'work' | 'ready' | 'failed';

/** One question to the API for each; all states at once are one question too. */
const STATES: Record<Filter, (JobState | null)[]> = {
  all: [null],
  work: ['queued', 'planning', 'running', 'publishing'],
  ready: ['succeeded'],
  failed: ['failed', 'cancelled'],
};
/** How many matches one question brings. */
const LIMIT = 30;

/** Null until the first answer. */
export const jobs = signal<Job[] | null>(null);
export const filter = signal<Filter>('all');
export const query = signal('');
export const listError = signal<string | null>(null);
export const isLive = signal(true);
/** The match that is being renamed: also when the list no longer shows it. */
export const renaming = signal<Job | null>(null);
/** Where each question goes on. */
const cursors = signal<{ state: JobState | null; cursor: string }[]>([]);
export const hasMore = computed(() => cursors.value.length > 0);

let request = new AbortController();

onOtherPerson(() => {
  request.abort();
  jobs.value = null;
  filter.value = 'all';
  query.value = '';
  listError.value = null;
  isLive.value = true;
  renaming.value = null;
  cursors.value = [];
});

async function ask(state: JobState | null, cursor: string | null, stop?: AbortSignal): Promise<Page<Job>> {
  const asked = new URLSearchParams({ limit: String(LIMIT) });
  if (state) asked.set('state', state);
  if (query.value.trim() !== '') asked.set('q', query.value.trim());
  if (cursor) asked.set('cursor', cursor);
  return call<Page<Job>>(`/v1/jobs?${asked}`, stop ? { signal: stop } : {});
}

/** Asks all questions, remembers where they go on, and gives the answers with what is `known`, the newest first. */
async function askAll(
  questions: { state: JobState | null; cursor: string | null }[],
  known: Job[],
  stop: AbortSignal,
): Promise<void> {
  const pages = await Promise.all(
    questions.map(async ({ state, cursor }) => ({ state, page: await ask(state, cursor, stop) })),
  );
  const found = new Map([...known, ...pages.flatMap(({ page }) => page.items)].map((job) => [job.id, job]));
  jobs.value = [...found.values()].sort((a, b) => b.created_at.localeCompare(a.created_at));
  cursors.value = pages.flatMap(({ state, page }) => (page.next_cursor ? [{ state, cursor: page.next_cursor }] : []));
}

/** Reads the list anew; an older answer that is still on its way is dropped. */
export async function load(): Promise<void> {
  await renew(
    STATES[filter.value].map((state) => ({ state, cursor: null })),
    () => [],
  );
}

export async function more(): Promise<void> {
  await renew(cursors.value, () => jobs.value ?? []);
}

async function renew(
  questions: { state: JobState | null; cursor: string | null }[],
  known: () => Job[],
): Promise<void> {
  request.abort();
  request = new AbortController();
  const { signal: stop } = request;
  try {
    await askAll(questions, known(), stop);
    listError.value = null;
  } catch (error) {
    if (!stop.aborted) listError.value = describe(error);
  }
}

/** Listens until the function that it gives is called. */
export function follow(): () => void {
  return listen(null, {
    onEvent: (event) => {
      jobs.value = jobs.value && apply(jobs.value, event, matches);
      if (event.type === 'job.deleted' && event.job_id) dismissMatch(event.job_id);
      if (
        event.job &&
        (event.type === 'job.succeeded' || event.type === 'job.failed' || event.type === 'job.playable')
      ) {
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
  const words = query.value.trim().toLowerCase();
  return (
    STATES[filter.value].some((state) => state === null || state === job.state) &&
    job.title.toLowerCase().includes(words)
  );
}

/** Calls a match by its new name; the rest of it may have moved on since. */
export function rename({ id, title }: Job): void {
  jobs.value = jobs.value && jobs.value.map((job) => (job.id === id ? { ...job, title } : job));
}

/** Takes a match that was deleted out of the list. */
export function forget(id: string): void {
  jobs.value = jobs.value && jobs.value.filter((job) => job.id !== id);
}

/** The list after an event. */
export function apply(list: Job[], event: JobEvent, belongs: (job: Job) => boolean): Job[] {
  if (event.type === 'job.deleted') return list.filter((job) => job.id !== event.job_id);
  const at = list.findIndex((j) => j.id === event.job_id);
  const known = list[at];
  if (event.job) {
    const job = event.job;
    if (!belongs(job)) return known ? list.filter((j) => j.id !== job.id) : list;
    if (known) return list.with(at, job);
    return event.type === 'job.created' ? [job, ...list] : list;
  }
  if (!known || event.type !== 'job.progress') return list;
  return list.with(at, progressed(known, event));
}
