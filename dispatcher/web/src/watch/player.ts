// One video element and everything the controls show of it and do with it. Times are seconds of the match, or of the
// clip: what the playlist holds before and after a clip is not there.

import { computed, signal } from '@preact/signals';
import type { FrameRate } from '../api/types';
import { frameAt, middleOfFrame } from '../text/time';
import { type Engine, type Level, openEngine } from './engine';

export interface Source {
  url: string;
  /** Length of the whole, also of what cannot be watched yet. */
  duration_s: number | null;
  watchable_s: number;
  isComplete: boolean;
  frameRate: FrameRate | null;
  /** Where in the playlist time zero lies: clips begin within a segment. */
  origin_s?: number;
  /** Where in the match the playlist begins, when a later minute was put first. */
  starts_s?: number;
  /** What else can be watched, in another playlist. */
  elsewhere?: Stretch | null;
}

/** From where to where, in seconds of the match. */
export interface Stretch {
  from_s: number;
  to_s: number;
}

export const SPEEDS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 2] as const;

/** An address that ends sooner than this after it was renewed, in ms, is refused for another reason. */
const RENEWAL = 30_000;

/** This near to the end of what can be watched, a player would stop at once. */
const EDGE = 0.25;

/** What the playlist holds; what is complete ends where it ends. */
function here(source: Source): Stretch {
  return { from_s: source.starts_s ?? 0, to_s: source.isComplete ? Infinity : source.watchable_s };
}

/** Whether there is enough of it at a time to play. */
export function isWithin(time: number, { from_s, to_s }: Stretch): boolean {
  return time >= from_s && time <= to_s - EDGE;
}

export class Player {
  readonly time = signal(0);
  readonly isPaused = signal(true);
  /** Wants to play and cannot yet. */
  readonly isWaiting = signal(false);
  readonly isEnded = signal(false);
  /** Nobody has played it yet, or gone anywhere in it. */
  readonly isFresh = signal(true);
  readonly buffered = signal<[number, number][]>([]);
  readonly rate = signal(1);
  readonly volume = signal(1);
  readonly isMuted = signal(false);
  readonly levels = signal<Level[]>([]);
  readonly level = signal(-1);
  readonly chosenLevel = signal(-1);
  readonly error = signal<string | null>(null);
  readonly source = signal<Source | null>(null);
  /** Where it goes as soon as that can be watched. */
  readonly wanted = signal<number | null>(null);
  /** The picture is kept while the playlist is changed. */
  readonly still = signal<HTMLCanvasElement | null>(null);

  readonly watchable = computed(() => this.source.value?.watchable_s ?? 0);
  readonly duration = computed(() => this.source.value?.duration_s ?? this.watchable.value);
  /** At the end of what can be watched, with more to come. */
  readonly isAtEdge = computed(() => {
    const source = this.source.value;
    return source !== null && !source.isComplete && this.time.value >= source.watchable_s - EDGE - 0.5;
  });

  #video: HTMLVideoElement | null = null;
  #engine: Promise<Engine> | null = null;
  /** Media time at which the shown picture begins. */
  #frame: number | null = null;
  /** Media time minus match time. */
  #offset = 0;
  /** It was told to play and does not yet. A video forgets that when it gets an address. */
  #isToPlay = false;
  #stop = new AbortController();

  /** When the address was renewed last, in ms. */
  #renewedAt = -Infinity;

  /** `onExpired` fetches a new address and calls `open` with it, where there is one to be had; `onElsewhere` opens the
   * other playlist at a time. */
  constructor(
    readonly onExpired: (() => void) | null = null,
    readonly onElsewhere: (to: number) => void = () => undefined,
  ) {}

  attach(video: HTMLVideoElement): void {
    this.#video = video;
    this.#stop = new AbortController();
    const { signal: stop } = this.#stop;
    const on = (types: string[], act: () => void) => {
      for (const type of types) video.addEventListener(type, act, { signal: stop });
    };
    on(['timeupdate', 'seeking', 'seeked', 'loadedmetadata', 'pause'], () => this.#tick());
    on(['timeupdate'], () => this.#endClip(video, video.currentTime));
    on(['play', 'pause', 'playing', 'waiting', 'ended', 'canplay', 'seeking', 'seeked'], () => this.#state());
    on(['progress', 'seeked', 'timeupdate'], () => this.#buffer());
    on(['ratechange'], () => (this.rate.value = video.playbackRate));
    on(['volumechange'], () => {
      this.volume.value = video.volume;
      this.isMuted.value = video.muted;
    });
    on(['seeked', 'playing'], () => (this.still.value = null));
    on(['playing'], () => {
      this.#isToPlay = false;
      this.isFresh.value = false;
    });
    this.#watchFrames(video, stop);
    const source = this.source.value;
    if (source) this.#load(source, this.time.value);
  }

  detach(): void {
    this.#stop.abort();
    void this.#engine?.then(
      (engine) => engine.destroy(),
      () => undefined,
    );
    this.#engine = null;
    this.#video = null;
  }

  /** Plays something, or goes on with what is known about it now. A change of address keeps place, speed and picture. */
  open(source: Source, at?: number): void {
    const before = this.source.value;
    this.source.value = source;
    if (before?.url !== source.url) {
      const from = at ?? this.time.value;
      if (before && this.#video) this.#keepPicture(this.#video);
      if (this.#video) this.#load(source, from);
      else this.time.value = from;
    }
    const wanted = this.wanted.value;
    if (wanted !== null && wanted >= (source.starts_s ?? 0) && wanted < source.watchable_s - EDGE) {
      this.wanted.value = null;
      this.seek(wanted);
      this.play();
    }
  }

  play(): void {
    if (this.isEnded.value) this.seek(0);
    this.#isToPlay = true;
    this.#video?.play().catch((error: unknown) => {
      // Refused until the person acts on the page: the play button is still there.
      if (error instanceof DOMException && error.name === 'NotAllowedError') this.#isToPlay = false;
    });
  }

  pause(): void {
    this.#isToPlay = false;
    this.#video?.pause();
  }

  toggle(): void {
    if (this.#video?.paused ?? true) this.play();
    else this.pause();
  }

  /** Goes to a time; false when it cannot be watched yet. */
  seek(to: number): boolean {
    const source = this.source.value;
    this.isFresh.value = false;
    const target = Math.max(0, to);
    if (source && !this.isWatchable(target)) return false;
    this.wanted.value = null;
    if (source && !isWithin(target, here(source))) {
      this.onElsewhere(target);
      return true;
    }
    const last = source?.isComplete ? this.duration.value - 0.05 : Infinity;
    this.time.value = Math.min(target, Math.max(0, last));
    if (this.#video) this.#video.currentTime = this.time.value + this.#shift;
    return true;
  }

  /** Whether a time can be watched now. */
  isWatchable(time: number): boolean {
    const source = this.source.value;
    if (!source) return false;
    return isWithin(time, here(source)) || (!!source.elsewhere && isWithin(time, source.elsewhere));
  }

  /** By so many seconds, but not beyond what can be watched. */
  skip(seconds: number): void {
    const source = this.source.value;
    const edge = source && !source.isComplete ? source.watchable_s - 2 * EDGE : this.duration.value;
    const isThere = this.seek(Math.min(this.time.value + seconds, Math.max(this.time.value, edge)));
    if (!isThere && seconds < 0) this.seek(source?.starts_s ?? 0);
  }

  /** So many frames on or back, from the frame on screen. */
  step(frames: number): void {
    const rate = this.source.value?.frameRate ?? { num: 25, den: 1 };
    this.pause();
    const at = this.#video?.currentTime ?? 0;
    // What is on screen, where browsers tell it; else the clock has to do.
    const isFresh = this.#frame !== null && Math.abs(at - this.#frame) < (2 * rate.den) / rate.num;
    const shown = isFresh && this.#frame !== null ? this.#frame : at;
    this.seek(middleOfFrame(frameAt(shown - this.#shift, rate) + frames, rate));
  }

  setRate(rate: number): void {
    if (!this.#video) return;
    // `defaultPlaybackRate` is what a change of playlist falls back to.
    this.#video.defaultPlaybackRate = rate;
    this.#video.playbackRate = rate;
  }

  faster(by: 1 | -1): void {
    const at = SPEEDS.findIndex((s) => s >= this.rate.value - 0.01);
    this.setRate(SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, at + by))] ?? 1);
  }

  setMuted(isMuted: boolean): void {
    if (this.#video) this.#video.muted = isMuted;
  }

  setVolume(volume: number): void {
    if (!this.#video) return;
    this.#video.volume = Math.min(1, Math.max(0, volume));
    this.#video.muted = volume === 0;
  }

  setLevel(index: number): void {
    this.chosenLevel.value = index;
    void this.#engine?.then(
      (engine) => engine.setLevel(index),
      () => undefined,
    );
  }

  /** Tries again after a failure, at the same place. */
  retry(): void {
    const source = this.source.value;
    this.error.value = null;
    if (source) this.#load(source, this.time.value);
  }

  #load(source: Source, at: number): void {
    const video = this.#video;
    if (!video) return;
    const isPlaying = !video.paused;
    this.error.value = null;
    this.#frame = null;
    this.time.value = at;
    this.#engine ??= openEngine(video, {
      onLevels: (levels) => (this.levels.value = levels),
      onLevel: (index) => (this.level.value = index),
      onOffset: (seconds) => (this.#offset = seconds),
      onExpired: () => this.#renew(),
      onFailure: (message) => (this.error.value = message),
    });
    this.#engine.then(
      (engine) => {
        if (this.#video !== video) return;
        const place = Math.max(0, at + (source.origin_s ?? 0) - (source.starts_s ?? 0));
        engine.load(new URL(source.url, location.href).href, place);
        if (isPlaying || this.#isToPlay) this.play();
      },
      (error: unknown) =>
        (this.error.value = error instanceof Error ? error.message : 'The video cannot be played here.'),
    );
  }

  /** The address is no longer good. One that ends at once again is not asked for without end. */
  #renew(): void {
    const now = performance.now();
    if (this.onExpired === null || now - this.#renewedAt < RENEWAL) {
      this.error.value = 'The link to this video has ended. Load the page again; if it stays so, ask for a new link.';
      return;
    }
    this.#renewedAt = now;
    this.onExpired();
  }

  /** Media time minus shown time. */
  get #shift(): number {
    const source = this.source.value;
    return this.#offset + (source?.origin_s ?? 0) - (source?.starts_s ?? 0);
  }

  /** Where the last frame begins, a little early: clocks are not exact. */
  get #lastFrame(): number {
    const rate = this.source.value?.frameRate ?? { num: 25, den: 1 };
    return this.duration.value - rate.den / rate.num - 0.005;
  }

  /** The playlist of a clip goes on to the end of a segment; the clip does not. */
  #endClip(video: HTMLVideoElement, at: number): void {
    if (this.source.value?.origin_s === undefined || video.paused) return;
    if (at - this.#shift >= this.#lastFrame) video.pause();
  }

  #keepPicture(video: HTMLVideoElement): void {
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || video.videoWidth === 0) return;
    const canvas = document.createElement('canvas');
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext('2d')?.drawImage(video, 0, 0);
    this.still.value = canvas;
  }

  #tick(): void {
    const video = this.#video;
    // A playlist that is just being opened stands at zero: that is no place anybody went to.
    if (!video || video.readyState === 0) return;
    const rate = this.source.value?.frameRate ?? { num: 25, den: 1 };
    // Standing still, the picture counts and not the clock: browsers stop a little beside it.
    const isStill = video.paused && !video.seeking && this.#frame !== null;
    const isFresh = isStill && Math.abs(video.currentTime - (this.#frame ?? 0)) < (2 * rate.den) / rate.num;
    const at = isFresh && this.#frame !== null ? this.#frame : video.currentTime;
    this.time.value = Math.max(0, at - this.#shift);
  }

  #state(): void {
    const video = this.#video;
    if (!video) return;
    this.isPaused.value = video.paused;
    const source = this.source.value;
    const isPastClip = source?.origin_s !== undefined && this.time.value >= this.#lastFrame;
    this.isEnded.value = (video.ended || isPastClip) && (source?.isComplete ?? true);
    this.isWaiting.value = !video.paused && video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA;
  }

  #buffer(): void {
    const ranges = this.#video?.buffered;
    if (!ranges) return;
    this.buffered.value = Array.from({ length: ranges.length }, (_, i) => [
      ranges.start(i) - this.#shift,
      ranges.end(i) - this.#shift,
    ]);
  }

  #watchFrames(video: HTMLVideoElement, stop: AbortSignal): void {
    if (!('requestVideoFrameCallback' in video)) return;
    const seen = (_: number, data: VideoFrameCallbackMetadata) => {
      if (stop.aborted) return;
      this.#frame = data.mediaTime;
      this.#endClip(video, data.mediaTime);
      if (video.paused) this.#tick();
      video.requestVideoFrameCallback(seen);
    };
    video.requestVideoFrameCallback(seen);
  }
}
