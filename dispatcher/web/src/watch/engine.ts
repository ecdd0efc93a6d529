// What turns a playlist into pictures: hls.js, or the browser itself where that is better (Safari).

import type { default as Hls, ErrorData } from 'hls.js';

export interface Level {
  index: number;
  height: number;
  bits_per_second: number;
}

export interface EngineEvents {
  onLevels(levels: Level[]): void;
  /** The level on screen. */
  onLevel(index: number): void;
  /** Media time minus match time: pictures are shown a constant moment after their decode time. */
  onOffset(seconds: number): void;
  /** The address is no longer good (an expired token): a new one is needed. */
  onExpired(): void;
  /** It cannot go on by itself. */
  onFailure(message: string): void;
}

export interface Engine {
  /** Plays `url` from match time `at` on; growing playlists too start there, not at their live edge. */
  load(url: string, at: number): void;
  /** -1 is automatic. */
  setLevel(index: number): void;
  destroy(): void;
}

const HLS_TYPE = 'application/vnd.apple.mpegurl';

/** Safari plays HLS better than any script; Chromium claims that it can, and is better served by hls.js. */
function prefersNative(video: HTMLVideoElement): boolean {
  const isSafari = 'ManagedMediaSource' in globalThis || !('MediaSource' in globalThis);
  return isSafari && video.canPlayType(HLS_TYPE) !== '';
}

export async function openEngine(video: HTMLVideoElement, events: EngineEvents): Promise<Engine> {
  if (prefersNative(video)) return new NativeEngine(video, events);
  const { default: Library } = await import('hls.js');
  if (Library.isSupported()) return new HlsEngine(Library, video, events);
  if (video.canPlayType(HLS_TYPE) !== '') return new NativeEngine(video, events);
  throw new Error('This browser cannot play the video. A current Chrome, Edge, Firefox or Safari can.');
}

class NativeEngine implements Engine {
  readonly #onError = () => this.events.onFailure('The video stopped. Reload the page to go on.');

  constructor(
    readonly video: HTMLVideoElement,
    readonly events: EngineEvents,
  ) {
    video.addEventListener('error', this.#onError);
  }

  load(url: string, at: number): void {
    this.video.src = url;
    this.video.addEventListener('loadedmetadata', () => (this.video.currentTime = at), { once: true });
  }

  setLevel(): void {
    // The browser alone decides.
  }

  destroy(): void {
    this.video.removeEventListener('error', this.#onError);
    this.video.removeAttribute('src');
    this.video.load();
  }
}

class HlsEngine implements Engine {
  #hls: Hls | null = null;
  #level = -1;
  #offset: number | null = null;
  #mediaRecoveries = 0;

  constructor(
    readonly library: typeof Hls,
    readonly video: HTMLVideoElement,
    readonly events: EngineEvents,
  ) {}

  load(url: string, at: number): void {
    this.#hls?.destroy();
    const { library, events } = this;
    const hls = new library({
      // fMP4 needs no remuxing, so a worker has nothing to do; the content security policy then needs no blob: for it.
      enableWorker: false,
      startPosition: at + (this.#offset ?? 0),
      // A growing match is no live stream: nobody wants to be taken to its edge.
      liveSyncDurationCount: 1,
      maxLiveSyncPlaybackRate: 1,
      liveMaxLatencyDurationCount: Infinity,
      backBufferLength: 60,
      maxBufferLength: 30,
    });
    this.#hls = hls;
    this.#mediaRecoveries = 0;
    hls.on(library.Events.MANIFEST_PARSED, () => {
      events.onLevels(
        hls.levels.map((level, index) => ({ index, height: level.height, bits_per_second: level.bitrate })),
      );
      hls.currentLevel = Math.min(this.#level, hls.levels.length - 1);
    });
    hls.on(library.Events.BUFFER_APPENDED, (_, data) => {
      if (data.parent === 'main' && data.frag) this.#findOffset(data.frag.start, data.timeRanges.video, at);
    });
    hls.on(library.Events.LEVEL_SWITCHED, (_, data) => events.onLevel(data.level));
    hls.on(library.Events.ERROR, (_, data) => this.#onError(hls, data));
    hls.loadSource(url);
    hls.attachMedia(this.video);
  }

  setLevel(index: number): void {
    this.#level = index;
    // From the next segment on, without emptying what is buffered when it is automatic.
    if (this.#hls) this.#hls.currentLevel = index;
  }

  destroy(): void {
    this.#hls?.destroy();
    this.#hls = null;
  }

  /** hls.js puts the first decode time at zero, so the first picture comes later by the presentation delay: where the
   * buffer of the first segment begins, seen from where the segment does. */
  #findOffset(segmentStart: number, buffered: TimeRanges | undefined, at: number): void {
    if (this.#offset !== null || !buffered) return;
    for (let i = 0; i < buffered.length; i += 1) {
      const offset = buffered.start(i) - segmentStart;
      if (offset < -0.01 || offset > 1) continue;
      this.#offset = Math.max(0, Math.round(offset * 1000) / 1000);
      this.events.onOffset(this.#offset);
      this.video.currentTime = at + this.#offset;
      return;
    }
  }

  #onError(hls: Hls, data: ErrorData): void {
    const status = data.response?.code;
    if (status === 401 || status === 403 || status === 410) {
      hls.stopLoad();
      this.events.onExpired();
      return;
    }
    if (!data.fatal) return;
    if (data.type === this.library.ErrorTypes.MEDIA_ERROR && this.#mediaRecoveries < 2) {
      this.#mediaRecoveries += 1;
      hls.recoverMediaError();
      return;
    }
    const isNetwork = data.type === this.library.ErrorTypes.NETWORK_ERROR;
    this.events.onFailure(
      isNetwork ? 'The video cannot be reached. Check the connection.' : 'The video cannot be played here.',
    );
  }
}
