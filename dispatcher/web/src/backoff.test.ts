import { expect, it } from 'vitest';
import { backoff } from './backoff';

it('doubles up to a bound, and leaves half to chance', () => {
  expect([1, 2, 3, 20].map((n) => backoff(n, () => 1))).toEqual([500, 1000, 2000, 15_000]);
  expect([1, 20].map((n) => backoff(n, () => 0))).toEqual([250, 7500]);
});
