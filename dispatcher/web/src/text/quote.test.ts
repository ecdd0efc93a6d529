import { describe, expect, it } from 'vitest';
import type { Quote } from '../api/types';
import { quoteWords } from './quote';

const QUOTE: Quote = {
  price: { low_micros: 82_888, likely_micros: 112_940, high_micros: 290_772 },
  playable: { soon_s: 7, late_s: 552 },
  done: { soon_s: 1081, late_s: 1733 },
};

describe('a quote in words', () => {
  it('says price and time', () => {
    expect(quoteWords(QUOTE)).toBe(
      'Preparing it will cost about $0.11, $0.29 at most. Once it is here, it can be watched after a few seconds at best, ' +
        'and is complete within 29 min.',
    );
  });

  it('is silent about what costs nothing or is not known', () => {
    expect(quoteWords({ ...QUOTE, price: { low_micros: 0, likely_micros: 0, high_micros: 0 } })).toMatch(/^Once/);
    expect(quoteWords({ ...QUOTE, price: { low_micros: 1, likely_micros: 2, high_micros: 3 } })).toMatch(
      /^Preparing it will cost less than a cent\./,
    );
    expect(quoteWords({ price: null, playable: null, done: null })).toBe('');
  });
});
