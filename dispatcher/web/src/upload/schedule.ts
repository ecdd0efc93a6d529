// Which part of a file is sent when. Pure: it knows no network, only what happened and what time it is.

import { backoff } from '../backoff';

interface Part {
  readonly number: number;
  readonly size: number;
  state: 'waiting' | 'sending' | 'sent';
  /** Bytes of the try that is going on. */
  underway: number;
}

export class PartSchedule {
  readonly #parts: Part[] = [];
  /** Failures since a part got through. All parts share one way, so they share its troubles. */
  #failures = 0;
  #notBefore = 0;

  /** Parts are numbered from 1; `received` are those that the store already has. */
  constructor(
    readonly size: number,
    readonly partSize: number,
    received: Iterable<number>,
    readonly atOnce = 3,
  ) {
    const have = new Set(received);
    const count = Math.max(1, Math.ceil(size / partSize));
    for (let number = 1; number <= count; number += 1) {
      const bytes = Math.min(partSize, size - (number - 1) * partSize);
      this.#parts.push({ number, size: bytes, state: have.has(number) ? 'sent' : 'waiting', underway: 0 });
    }
  }

  /** First byte and the one after the last. */
  range(number: number): [number, number] {
    const from = (number - 1) * this.partSize;
    return [from, Math.min(this.size, from + this.partSize)];
  }

  /** Parts to begin now, marked as being sent. After a failure one goes alone: when it fails too, little is lost. */
  take(now: number): number[] {
    const sending = this.#parts.filter((p) => p.state === 'sending').length;
    const room = (this.#failures > 0 ? 1 : this.atOnce) - sending;
    if (room <= 0 || now < this.#notBefore) return [];
    const next = this.#parts.filter((p) => p.state === 'waiting').slice(0, room);
    for (const part of next) {
      part.state = 'sending';
      part.underway = 0;
    }
    return next.map((p) => p.number);
  }

  /** The time before which `take` gives nothing. */
  get notBefore(): number {
    return this.#notBefore;
  }

  get failures(): number {
    return this.#failures;
  }

  progressed(number: number, bytes: number): void {
    const part = this.#part(number);
    if (part.state === 'sending') part.underway = Math.min(part.size, bytes);
  }

  sent(number: number): void {
    const part = this.#part(number);
    part.state = 'sent';
    part.underway = 0;
    this.#failures = 0;
    this.#notBefore = 0;
  }

  /** Parts that fail together, with one cut, count as one failure. */
  failed(number: number, now: number, random?: () => number): void {
    const part = this.#part(number);
    if (part.state !== 'sending') return;
    part.state = 'waiting';
    part.underway = 0;
    if (now < this.#notBefore) return;
    this.#failures += 1;
    this.#notBefore = now + backoff(this.#failures, random);
  }

  /** All that is being sent is lost at once. */
  cut(now: number, random?: () => number): void {
    this.release();
    this.#failures += 1;
    this.#notBefore = now + backoff(this.#failures, random);
  }

  /** Takes back what is being sent, without blame: a pause. */
  release(): void {
    for (const part of this.#parts) {
      if (part.state === 'sending') part.state = 'waiting';
      part.underway = 0;
    }
  }

  /** Lets what waits go at once: the network is back, or the person asks. */
  hurry(): void {
    this.#notBefore = 0;
  }

  get sentBytes(): number {
    return this.#parts.reduce((sum, p) => sum + (p.state === 'sent' ? p.size : p.underway), 0);
  }

  get isComplete(): boolean {
    return this.#parts.every((p) => p.state === 'sent');
  }

  #part(number: number): Part {
    const part = this.#parts[number - 1];
    if (!part) throw new RangeError(`part ${number} of ${this.#parts.length}`);
    return part;
  }
}
