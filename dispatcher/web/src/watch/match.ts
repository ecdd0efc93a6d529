// One match on the watch page: what the API says about it, kept up to date, and handed to the player.

import { signal } from '@preact/signals';
import { call, intention } from '../api/client';
import { listen } from '../api/events';
import { progressed } from '../api/progress';
import { Unreachable, describe } from '../api/problem';
import type { Clip, Job, JobEvent, Page, Playback } from '../api/types';
import { announce, notice } from '../ui/notices';
import { clock } from '../text/time';
import { recallPlace } from './place';
import { Player, type Source } from './player';
import { type Thumbnail, parseThumbnails } from './thumbnails';

/** How often it is looked whether a later minute can be watched, in ms. */
const LOOK = 2000;
/** By how much a match grows before its picture and thumbnails are asked for again, in ms. */
const GROWN = 30_000;

export class Match {
  readonly job = signal<Job | null>(null);
  readonly clips = signal<Clip[]>([]);
  readonly thumbnails = signal<Thumbnail[]>([]);
  readonly poster = signal<string | null>(null);
  readonly error = signal<string | null>(null);
  readonly isLive = signal(true);
  readonly reasons = signal<string[]>([]);
  readonly player = new Player(
    () => void this.#loadPlayback(),
    (to) => this.#leavePart(to),
  );

  #playback: Playback | null = null;
  /** What plays from a later minute on, while what precedes it is not there. */
  #part: Playback | null = null;
  /** The search for such a part that counts; others are over. */
  #search = 0;
  /** What could be watched when playback was asked for last, in ms. */
  #playbackAt = 0;
  #thumbnailsFor = '';
  #leave: (() => void) | null = null;

  constructor(readonly id: string) {}

  /** Reads everything and listens until the function that it gives is called. */
  follow(): () => void {
    void this.#load();
    this.#leave = listen(this.id, {
      onEvent: (event) => this.#apply(event),
      onOpen: (again) => {
        this.isLive.value = true;
        if (again) void this.#load();
      },
      onLost: () => (this.isLive.value = false),
    });
    return () => {
      this.#search += 1;
      this.#leave?.();
    };
  }

  async reload(): Promise<void> {
    this.error.value = null;
    await this.#load();
  }

  /** "This minute first": it is encoded before the rest, and the player goes there as soon as it can. */
  async focus(at: number): Promise<void> {
    try {
      this.job.value = await call<Job>(`/v1/jobs/${this.id}/focus`, {
        method: 'POST',
        body: { at_s: at },
        once: intention(),
      });
      this.player.wanted.value = at;
      void this.#watchFrom(at);
      announce(`${clock(at)} comes next. Playback goes there as soon as it can.`);
    } catch (error) {
      notice(describe(error), true);
    }
  }

  /** Plays from `at` on as soon as that is there, and on until the match has come so far. */
  async #watchFrom(at: number): Promise<void> {
    const search = (this.#search += 1);
    while (this.#search === search && !this.#playback?.complete) {
      try {
        const now = await call<Playback>(`/v1/jobs/${this.id}/playback?from_s=${at}`);
        if (this.#search !== search) return;
        const isPart = now.starts_at_ms > 0;
        const isOver = !isPart && now.watchable_ms > at * 1000;
        this.#part = isPart ? now : null;
        this.#feed();
        if (isOver) return;
      } catch {
        // The next look may be answered.
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
  }

  /** Back to the match from its beginning on. */
  #leavePart(to: number): void {
    this.#search += 1;
    this.#part = null;
    this.#feed(to);
  }

  async act(verb: 'cancel' | 'retry'): Promise<void> {
    try {
      this.job.value = await call<Job>(`/v1/jobs/${this.id}/${verb}`, { method: 'POST', once: intention() });
    } catch (error) {
      notice(describe(error), true);
    }
  }

  async #load(): Promise<void> {
    try {
      this.#take(await call<Job>(`/v1/jobs/${this.id}`));
      const page = await call<Page<Clip>>(`/v1/jobs/${this.id}/clips`);
      this.clips.value = page.items.toSorted((a, b) => a.start_s - b.start_s);
      this.error.value = null;
    } catch (error) {
      // What is already there can still be watched.
      if (this.job.value === null || !(error instanceof Unreachable)) this.error.value = describe(error);
    }
  }

  #take(job: Job): void {
    const before = this.job.value;
    this.job.value = job;
    const hasGrown = !job.complete && job.watchable_ms > this.#playbackAt + GROWN;
    const isNew = !before?.playable || before.complete !== job.complete;
    if (job.playable && (isNew || hasGrown)) {
      this.#playbackAt = job.watchable_ms;
      void this.#loadPlayback();
    }
    this.#feed();
    if (job.state === 'queued') void this.#askWhy();
    else this.reasons.value = [];
  }

  async #askWhy(): Promise<void> {
    try {
      this.reasons.value = (await call<{ reasons: string[] }>(`/v1/jobs/${this.id}/why`)).reasons;
    } catch {
      this.reasons.value = [];
    }
  }

  #apply(event: JobEvent): void {
    if (event.job_id !== this.id) return;
    if (event.job) {
      this.#take(event.job);
      if (event.type === 'job.succeeded') announce('The whole match is ready.');
      if (event.type === 'job.playable') announce('The first part can be watched.');
      return;
    }
    const job = this.job.value;
    if (!job || event.type !== 'job.progress') return;
    this.#take(progressed(job, event));
  }

  async #loadPlayback(): Promise<void> {
    try {
      this.#playback = await call<Playback>(`/v1/jobs/${this.id}/playback`);
      this.poster.value ??= this.#playback.poster_url;
      this.#feed();
      await this.#loadThumbnails();
    } catch (error) {
      if (this.player.source.value === null) this.error.value = describe(error);
    }
  }

  async #loadThumbnails(): Promise<void> {
    const url = this.#playback?.thumbnails_url;
    if (!url || this.#thumbnailsFor === url) return;
    const base = new URL(url, location.href).href;
    const response = await fetch(base);
    if (!response.ok) return;
    this.thumbnails.value = parseThumbnails(await response.text(), base);
    // While it grows there are more to come under the same address.
    if (this.#playback?.complete) this.#thumbnailsFor = url;
  }

  /** Tells the player what can be watched by now. */
  #feed(at?: number): void {
    const job = this.job.value;
    if (this.#playback?.complete) this.#part = null;
    const part = this.#part;
    const playback = part ?? this.#playback;
    if (!job || !playback?.url) return;
    const duration = job.duration_ms ?? playback.duration_ms;
    const source: Source = {
      url: playback.url,
      duration_s: duration === null ? null : duration / 1000,
      watchable_s: (part ? part.watchable_ms : Math.max(job.watchable_ms, playback.watchable_ms)) / 1000,
      isComplete: playback.complete,
      frameRate: job.frame_rate ?? playback.frame_rate,
      ...(part && { starts_s: part.starts_at_ms / 1000, before_s: job.watchable_ms / 1000 }),
    };
    const isFirst = this.player.source.value === null;
    // A part is opened where it was asked for.
    const place = at ?? (part && this.player.wanted.value !== null ? this.player.wanted.value : undefined);
    this.player.open(source, place ?? (isFirst ? recallPlace(this.id, source.watchable_s) : undefined));
  }
}
