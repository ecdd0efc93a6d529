// How long to wait before the next try.

/** Milliseconds before try number `failures` + 1: doubling from half a second to `most`, half of it by chance so that
 * many pages do not come back at once. */
export function backoff(failures: number, random: () => number = Math.random, most = 15_000): number {
  const whole = Math.min(most, 500 * 2 ** Math.max(0, failures - 1));
  return whole / 2 + (whole / 2) * random();
}
