import { expect, it } from 'vitest';
import { bytes, percent, plural } from './size';

it('shows sizes in decimal units', () => {
  expect([0, 999, 1000, 4_249_000_000, 100e9, 999_600].map(bytes)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '4.2 GB',
    '100 GB',
    '1.0 MB',
  ]);
});

it('says 100 % only when all is there', () => {
  expect([0, 0.5, 0.999, 1, 2, NaN].map(percent)).toEqual(['0 %', '50 %', '99 %', '100 %', '100 %', '0 %']);
});

it('counts', () => {
  expect([plural(1, 'match', 'matches'), plural(2, 'match', 'matches'), plural(0, 'clip')]).toEqual([
    '1 match',
    '2 matches',
    '0 clips',
  ]);
});
