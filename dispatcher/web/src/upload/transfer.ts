// One file on its way: what the person sees of it and what may be done with it.

import { computed, signal } from '@preact/signals';
import { backoff } from '../backoff';
import { Unreachable, describe, isTransient } from '../api/problem';
import type { PartTarget, Upload } from '../api/types';
import { canBeSentAgain } from './put';
import { Rate } from './rate';
import { PartSchedule } from './schedule';

export type TransferState = 'reading' | 'sending' | 'lost' | 'paused' | 'finishing' | 'done' | 'failed' | 'cancelled';

/** What a transfer needs of the world. */
export interface Backend {
  fingerprint(file: File): Promise<string>;
  begin(file: File, fingerprint: string): Promise<Upload>;
  target(upload: Upload, number: number, body: Blob): Promise<PartTarget>;
  put(target: PartTarget, body: Blob, onProgress: (bytes: number) => void, signal: AbortSignal): Promise<void>;
  look(upload: string): Promise<Upload>;
  complete(upload: string): Promise<Upload>;
  remove(upload: string): Promise<void>;
}

/** So often in a row a store may refuse before the upload counts as failed; a lost network is waited for without end. */
const REFUSALS = 8;

export class Transfer {
  readonly state = signal<TransferState>('reading');
  readonly sentBytes = signal(0);
  readonly bytesPerSecond = signal<number | null>(null);
  readonly error = signal<string | null>(null);
  readonly upload = signal<Upload | null>(null);
  /** Part of the file had already been sent before. */
  readonly isResumed = signal(false);
  readonly secondsLeft = computed(() => {
    const rate = this.bytesPerSecond.value;
    return this.state.value === 'sending' && rate ? (this.file.size - this.sentBytes.value) / rate : null;
  });

  readonly #rate = new Rate();
  #schedule: PartSchedule | null = null;
  #stop = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #refusals = 0;

  constructor(
    readonly file: File,
    readonly backend: Backend,
    readonly now: () => number = Date.now,
  ) {}

  /** Begins, or goes on with an upload of the same file that was left unfinished. */
  async start(): Promise<void> {
    await this.#untilReached('reading', async () => {
      const upload = await this.backend.begin(this.file, await this.backend.fingerprint(this.file));
      this.#adopt(upload);
      this.isResumed.value = upload.received_bytes > 0;
    });
    if (this.state.value === 'reading') {
      this.state.value = 'sending';
      this.#pump();
    }
  }

  pause(): void {
    if (this.state.value !== 'sending' && this.state.value !== 'lost') return;
    this.#halt('paused');
  }

  /** Goes on after a pause, or tries again after a failure: then from what the store says it has. */
  resume(): void {
    const state = this.state.value;
    if (state === 'paused' && this.#schedule) {
      this.state.value = 'sending';
      this.#schedule.hurry();
      this.#pump();
    } else if (state === 'paused' || state === 'failed') {
      this.error.value = null;
      this.#refusals = 0;
      this.state.value = 'reading';
      void this.start();
    }
  }

  /** The network has gone: what is on its way would only be found missing much later. */
  cutOff(): void {
    const schedule = this.#schedule;
    if (this.state.value !== 'sending' || !schedule) return;
    this.#halt('lost');
    schedule.cut(this.now());
    this.#pump();
  }

  /** The network may be back: try now. */
  hurry(): void {
    if (this.state.value !== 'lost' || !this.#schedule) return;
    this.#schedule.hurry();
    this.#pump();
  }

  /** Stops without taking back what was sent: another visit can go on. */
  leave(): void {
    if (!['done', 'failed', 'cancelled'].includes(this.state.value)) this.#halt('cancelled');
  }

  async cancel(): Promise<void> {
    this.#halt('cancelled');
    const id = this.upload.value?.id;
    if (!id) return;
    try {
      await this.backend.remove(id);
    } catch {
      // It expires by itself.
    }
  }

  #halt(state: TransferState): void {
    this.state.value = state;
    clearTimeout(this.#timer);
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#schedule?.release();
    this.#rate.reset();
    this.bytesPerSecond.value = null;
    this.sentBytes.value = this.#schedule?.sentBytes ?? 0;
  }

  #adopt(upload: Upload): void {
    this.upload.value = upload;
    this.#schedule = new PartSchedule(
      this.file.size,
      upload.part_size_bytes,
      upload.received.map((p) => p.number),
    );
    this.sentBytes.value = this.#schedule.sentBytes;
  }

  /** Begins what may begin; every end of a part and every timer comes back here. */
  #pump(): void {
    const schedule = this.#schedule;
    if (!schedule || (this.state.value !== 'sending' && this.state.value !== 'lost')) return;
    if (schedule.isComplete) {
      void this.#finish();
      return;
    }
    const now = this.now();
    for (const number of schedule.take(now)) void this.#send(schedule, number);
    clearTimeout(this.#timer);
    if (schedule.notBefore > now) this.#timer = setTimeout(() => this.#pump(), schedule.notBefore - now + 1);
  }

  async #send(schedule: PartSchedule, number: number): Promise<void> {
    const { signal: stopped } = this.#stop;
    const upload = this.upload.value;
    if (!upload) return;
    const body = this.file.slice(...schedule.range(number));
    // What the API refuses stays refused; a store may take a part under another address.
    let canHelp = isTransient;
    try {
      const target = await this.backend.target(upload, number, body);
      if (stopped.aborted) return;
      const onProgress = (bytes: number) => {
        if (stopped.aborted) return;
        schedule.progressed(number, bytes);
        this.#count();
      };
      canHelp = canBeSentAgain;
      await this.backend.put(target, body, onProgress, stopped);
      if (stopped.aborted) return;
      schedule.sent(number);
      this.#refusals = 0;
      this.state.value = 'sending';
    } catch (error) {
      if (stopped.aborted) return;
      if (!(error instanceof Unreachable)) this.#refusals += 1;
      if (!canHelp(error) || this.#refusals > REFUSALS) {
        this.error.value = describe(error);
        this.#halt('failed');
        return;
      }
      schedule.failed(number, this.now());
      this.state.value = 'lost';
      this.#rate.reset();
      this.bytesPerSecond.value = null;
    }
    this.#count();
    this.#pump();
  }

  #count(): void {
    const bytes = this.#schedule?.sentBytes ?? 0;
    this.sentBytes.value = bytes;
    this.#rate.add(this.now(), bytes);
    this.bytesPerSecond.value = this.#rate.bytesPerSecond();
  }

  async #finish(): Promise<void> {
    const upload = this.upload.value;
    if (!upload) return;
    this.state.value = 'finishing';
    await this.#untilReached('finishing', async () => {
      try {
        this.upload.value = await this.backend.complete(upload.id);
      } catch (error) {
        if (isTransient(error)) throw error;
        // The store may not have what we think it has: believe it, and send the rest.
        const seen = await this.backend.look(upload.id);
        if (seen.state === 'completed') {
          this.upload.value = seen;
          return;
        }
        if (seen.state !== 'open' || seen.received_bytes >= this.file.size) throw error;
        this.#adopt(seen);
      }
    });
    if (this.state.value !== 'finishing') return;
    if (this.upload.value?.state === 'completed') {
      this.error.value = this.upload.value.job_problem?.title ?? null;
      this.state.value = 'done';
    } else {
      this.state.value = 'sending';
      this.#pump();
    }
  }

  /** Does something that needs the API, again and again while it cannot be reached and the state stays. */
  async #untilReached(state: TransferState, act: () => Promise<void>): Promise<void> {
    for (let failures = 1; this.state.value === state; failures += 1) {
      try {
        await act();
        return;
      } catch (error) {
        if (this.state.value !== state) return;
        if (!isTransient(error)) {
          this.error.value = describe(error);
          this.#halt('failed');
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, backoff(failures)));
      }
    }
  }
}
