// Places on the line of a match, as shares of the whole.

export interface Span {
  from: number;
  to: number;
}

/** Cuts times to the whole length and turns them into percent; what has no extent is left out. */
export function spans(times: readonly (readonly [number, number])[], whole: number): Span[] {
  if (!(whole > 0)) return [];
  const share = (t: number) => Math.min(100, Math.max(0, (t / whole) * 100));
  return times.map(([a, b]) => ({ from: share(a), to: share(b) })).filter((s) => s.to > s.from);
}

/** The time under a pointer. */
export function timeAt(x: number, left: number, width: number, whole: number): number {
  if (!(width > 0) || !(whole > 0)) return 0;
  return Math.min(1, Math.max(0, (x - left) / width)) * whole;
}

/** Where an in and an out point end up when one of them is set: the other gives way rather than both crossing. */
export function withPoint(points: { start: number | null; end: number | null }, which: 'start' | 'end', at: number) {
  const next = { ...points, [which]: at };
  if (next.start !== null && next.end !== null && next.start >= next.end) {
    return which === 'start' ? { start: at, end: null } : { start: null, end: at };
  }
  return next;
}
