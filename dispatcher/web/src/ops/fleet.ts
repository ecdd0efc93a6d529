// What the page of operators shows, asked for again and again while it is looked at.

import { signal } from '@preact/signals';
import { call, intention } from '../api/client';
import { describe } from '../api/problem';
import type { Fleet, Job, Page } from '../api/types';
import { key, onOtherPerson } from '../session';
import { notice } from '../ui/notices';

const EVERY = 3000;

export const fleet = signal<Fleet | null>(null);
export const atWork = signal<Job[]>([]);
export const troubles = signal<Job[]>([]);
export const fleetError = signal<string | null>(null);
export const seenAt = signal<Date | null>(null);
export const isPaused = signal(false);

onOtherPerson(() => {
  fleet.value = null;
  atWork.value = [];
  troubles.value = [];
  fleetError.value = null;
  seenAt.value = null;
});

async function look(): Promise<void> {
  const person = key.peek();
  try {
    const [now, open, failed] = await Promise.all([
      call<Fleet>('/v1/fleet'),
      call<Page<Job>>('/v1/jobs?all=true&state=queued,planning,running,publishing&limit=25'),
      call<Page<Job>>('/v1/jobs?all=true&state=failed&limit=10'),
    ]);
    if (key.peek() !== person) return;
    fleet.value = now;
    atWork.value = open.items;
    troubles.value = failed.items;
    seenAt.value = new Date();
    fleetError.value = null;
  } catch (error) {
    fleetError.value = describe(error);
  }
}

/** Looks until the function that it gives is called; not while nobody sees the page. */
export function watchFleet(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;
  const turn = async () => {
    if (!document.hidden && !isPaused.value) await look();
    if (!isOver) timer = setTimeout(() => void turn(), EVERY);
  };
  const seen = () => {
    if (!document.hidden && !isPaused.value) void look();
  };
  document.addEventListener('visibilitychange', seen);
  void turn();
  return () => {
    isOver = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', seen);
  };
}

export async function drain(worker: string): Promise<void> {
  await order(`/v1/workers/${worker}/drain`, 'The worker finishes its segment and hands its work back.');
}

export async function redrive(): Promise<void> {
  await order('/v1/redrive', 'Dead messages are queued again.');
}

async function order(path: string, done: string): Promise<void> {
  try {
    await call<unknown>(path, { method: 'POST', once: intention() });
    notice(done);
    await look();
  } catch (error) {
    notice(describe(error), true);
  }
}
