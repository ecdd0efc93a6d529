// One match on the watch page: what the API says about it, kept up to date, and handed to the player.

import { signal } from '@preact/signals';
import { call, intention } from '../api/client';
import { listen } from '../api/events';
import { progressed } from '../api/progress';
import { Unreachable, describe } from '../api/problem';
import type { Clip, Job, JobEvent, Page, Playback } from '../api/types';
import { forget } from '../matches/jobs';
import { removeMatch } from '../matches/remove';
import { go } from '../router';
import { announce, notice } from '../ui/notices';
import { clock } from '../text/time';
import { recallPlace } from './place';
import { Player, type Source, type Stretch, isWithin } from './player';
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
  /** Somebody deleted it while it was looked at. */
  readonly isDeleted = signal(false);
  readonly isLive = signal(true);
  readonly reasons = signal<string[]>([]);
  readonly player = new Player(
    () => void this.#loadPlayback(),
    (to) => this.#feed({ isInPart: !this.#isInPart, place: to }),
  );

  #playback: Playback | null = null;
  /** What plays from a later minute on, while what precedes it is not there. */
  #part: Playback | null = null;
  /** It is what plays now. */
  #isInPart = false;
  /** The search for such a part that counts; others are over. */
  #search = 0;
  /** What could be watched when playback was asked for last, in ms. */
  #playbackAt = 0;
  #thumbnailsFor = '';
  /** How far the part could be watched when thumbnails were asked for last, in ms. */
  #thumbnailsAt = 0;
  #leave: (() => void) | null = null;

  #hasLeft = false;
  /** It is this person who deletes it. */
  #isRemoving = false;

  constructor(readonly id: string) {}

  /** Nobody looks at it any more. */
  get hasLeft(): boolean {
    return this.#hasLeft;
  }

  /** Reads everything and listens until the function that it gives is called. */
  follow(): () => void {
    this.#hasLeft = false;
    void this.#load();
    this.#leave = listen(this.id, {
      onEvent: (event) => this.#apply(event),
      onOpen: (again) => {
        this.isLive.value = true;
        if (again) void this.#load();
      },
      onLost: () => (this.isLive.value = false),
      onGone: () => this.#gone(),
    });
    return () => {
      this.#hasLeft = true;
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

  /** Looks for what can be watched from `at` on, until the match has come so far by itself. Who still wants to go there
   * is taken there as soon as it can be watched. */
  async #watchFrom(at: number): Promise<void> {
    const search = (this.#search += 1);
    while (this.#search === search && !this.#playback?.complete) {
      try {
        const now = await call<Playback>(`/v1/jobs/${this.id}/playback?from_s=${at}`);
        if (this.#search !== search) return;
        const isPart = now.starts_at_ms > 0;
        const before = this.#isInPart && this.player.wanted.value === null ? this.#part : null;
        if (isPart && before && before.starts_at_ms !== now.starts_at_ms) {
          // Somebody stayed where an earlier wish had led: that goes on.
          void this.#watchFrom(before.starts_at_ms / 1000);
          return;
        }
        if (isPart) this.#takePart(now);
        const isOver = !isPart && now.watchable_ms > at * 1000;
        if (isOver) this.#part = null;
        this.#feed();
        if (isOver) return;
      } catch {
        // The next look may be answered.
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
  }

  #takePart(part: Playback): void {
    const isNew = this.#part?.starts_at_ms !== part.starts_at_ms;
    // An address of its own for every hour: a change would have the player begin anew.
    this.#part = isNew ? part : { ...part, url: this.#part?.url ?? part.url };
    if (isNew || part.watchable_ms > this.#thumbnailsAt + GROWN) {
      this.#thumbnailsAt = part.watchable_ms;
      void this.#loadThumbnails().catch(() => undefined);
    }
  }

  async act(verb: 'cancel' | 'retry'): Promise<void> {
    try {
      this.job.value = await call<Job>(`/v1/jobs/${this.id}/${verb}`, { method: 'POST', once: intention() });
    } catch (error) {
      notice(describe(error), true);
    }
  }

  /** Deletes it, after asking; who still looks at it then goes back to the list. */
  async remove(): Promise<void> {
    const job = this.job.value;
    if (!job) return;
    const isGone = await removeMatch(job, () => (this.#isRemoving = true));
    this.#isRemoving = false;
    if (isGone && !this.#hasLeft) go('/');
  }

  /** Somebody deleted it. */
  #gone(): void {
    this.#search += 1;
    forget(this.id);
    if (this.#isRemoving) return go('/');
    this.isDeleted.value = true;
    this.error.value = 'This match was deleted.';
  }

  async #load(): Promise<void> {
    try {
      this.#take(await call<Job>(`/v1/jobs/${this.id}`));
      await this.#loadClips();
      if (!this.isDeleted.value) this.error.value = null;
    } catch (error) {
      if (this.isDeleted.value) return;
      // What is already there can still be watched.
      if (this.job.value === null || !(error instanceof Unreachable)) this.error.value = describe(error);
    }
  }

  async #loadClips(): Promise<void> {
    const page = await call<Page<Clip>>(`/v1/jobs/${this.id}/clips`);
    this.clips.value = page.items.toSorted((a, b) => a.start_s - b.start_s);
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
    if (event.type === 'job.deleted') return this.#gone();
    // Made here or elsewhere; the next event or visit shows what this one could not.
    if (event.type.startsWith('clip.')) void this.#loadClips().catch(() => undefined);
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
      if (this.player.source.value === null && !this.isDeleted.value) this.error.value = describe(error);
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

  /** Tells the player what can be watched by now, and where to go on when it is to change to another part. */
  #feed(change?: { isInPart: boolean; place: number }): void {
    const job = this.job.value;
    if (this.#playback?.complete) this.#part = null;
    const part = this.#part;
    const wanted = this.player.wanted.value;
    const isCalledFor = part !== null && wanted !== null && isWithin(wanted, stretch(part));
    const isInPart = part !== null && (change?.isInPart ?? (this.#isInPart || isCalledFor));
    this.#isInPart = isInPart;
    const playback = isInPart ? part : this.#playback;
    if (!job || !playback?.url) return;
    const duration = job.duration_ms ?? playback.duration_ms;
    const watchable = Math.max(job.watchable_ms, this.#playback?.watchable_ms ?? 0) / 1000;
    const source: Source = {
      url: playback.url,
      duration_s: duration === null ? null : duration / 1000,
      watchable_s: isInPart ? playback.watchable_ms / 1000 : watchable,
      isComplete: playback.complete,
      frameRate: job.frame_rate ?? playback.frame_rate,
      starts_s: playback.starts_at_ms / 1000,
      elsewhere: part && (isInPart ? { from_s: 0, to_s: watchable } : stretch(part)),
    };
    const isFirst = this.player.source.value === null;
    const place = change?.place ?? (isCalledFor ? wanted : undefined);
    this.player.open(source, place ?? (isFirst ? recallPlace(this.id, source.watchable_s) : undefined));
    if (isCalledFor) announce(`Playing from ${clock(wanted)}.`);
  }
}

function stretch(part: Playback): Stretch {
  return { from_s: part.starts_at_ms / 1000, to_s: part.watchable_ms / 1000 };
}
