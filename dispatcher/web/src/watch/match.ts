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

export class Match {
  readonly job = signal<Job | null>(null);
  readonly clips = signal<Clip[]>([]);
  readonly thumbnails = signal<Thumbnail[]>([]);
  readonly poster = signal<string | null>(null);
  readonly error = signal<string | null>(null);
  readonly isLive = signal(true);
  readonly reasons = signal<string[]>([]);
  readonly player = new Player(() => void this.#loadPlayback());

  #playback: Playback | null = null;
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
    return () => this.#leave?.();
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
      announce(`${clock(at)} comes next. Playback goes there as soon as it can.`);
    } catch (error) {
      notice(describe(error), true);
    }
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
    if (job.playable && (!before?.playable || before.complete !== job.complete)) void this.#loadPlayback();
    else this.#feed();
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
  #feed(): void {
    const job = this.job.value;
    const playback = this.#playback;
    if (!job || !playback?.url) return;
    const duration = job.duration_ms ?? playback.duration_ms;
    const source: Source = {
      url: playback.url,
      duration_s: duration === null ? null : duration / 1000,
      watchable_s: Math.max(job.watchable_ms, playback.watchable_ms) / 1000,
      isComplete: playback.complete,
      frameRate: job.frame_rate ?? playback.frame_rate,
    };
    const isFirst = this.player.source.value === null;
    this.player.open(source, isFirst ? recallPlace(this.id, source.watchable_s) : undefined);
  }
}
