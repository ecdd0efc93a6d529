// What a match will cost and when it can be watched, in a sentence or two.

import type { Quote } from '../api/types';
import { usd } from './size';
import { roughly } from './time';

/** Nothing where neither price nor time is known; no price where machines cost nothing. */
export function quoteWords(quote: Quote): string {
  const sentences: string[] = [];
  if (quote.price && quote.price.high_micros > 0) {
    const [likely, most] = [dollars(quote.price.likely_micros), dollars(quote.price.high_micros)];
    sentences.push(
      likely === most ? `Preparing it will cost ${most}.` : `Preparing it will cost about ${likely}, ${most} at most.`,
    );
  }
  if (quote.playable && quote.done) {
    const within = roughly(quote.done.late_s).replace(/^about /, '');
    sentences.push(
      `Once it is here, it can be watched after ${roughly(quote.playable.soon_s)} at best, and is complete within ${within}.`,
    );
  }
  return sentences.join(' ');
}

function dollars(micros: number): string {
  return micros < 10_000 ? 'less than a cent' : usd(micros / 1e6);
}
