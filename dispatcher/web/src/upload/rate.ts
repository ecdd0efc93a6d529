// How fast an upload is, over the last seconds.

const WINDOW_MS = 12_000;

export class Rate {
  #points: { at: number; bytes: number }[] = [];

  /** The bytes that have been sent in all by now. */
  add(at: number, bytes: number): void {
    const last = this.#points.at(-1);
    // A part that has to be sent again takes back what was counted: start over.
    if (last && bytes < last.bytes) this.#points = [];
    this.#points.push({ at, bytes });
    while (this.#points.length > 2 && at - (this.#points[1]?.at ?? at) > WINDOW_MS) this.#points.shift();
  }

  /** Forgets everything, because a pause is no slowness. */
  reset(): void {
    this.#points = [];
  }

  /** Bytes a second; null until there is enough to tell. */
  bytesPerSecond(): number | null {
    const first = this.#points[0];
    const last = this.#points.at(-1);
    if (!first || !last || last.at - first.at < 1000) return null;
    return ((last.bytes - first.bytes) * 1000) / (last.at - first.at);
  }
}
