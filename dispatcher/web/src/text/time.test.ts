import { describe, expect, it } from 'vitest';
import { ago, clock, frameAt, middleOfFrame, parseClock, roughly, spoken } from './time';

describe('clock', () => {
  it.each([
    [0, '0:00'],
    [59.999, '0:59'],
    [61, '1:01'],
    [3723, '1:02:03'],
    [NaN, '0:00'],
    [-3, '0:00'],
  ])('shows %s s as %s', (seconds, text) => expect(clock(seconds)).toBe(text));

  it('shows hundredths when asked, cut and not rounded', () => {
    expect(clock(61.239, true)).toBe('1:01.23');
    expect(clock(0.29, true)).toBe('0:00.29');
  });
});

describe('parseClock', () => {
  it.each([
    ['75', 75],
    ['1:15', 75],
    ['1:02:03.5', 3723.5],
    ['90:00', 5400],
    [' 0:03,25 ', 3.25],
  ])('reads %s', (text, seconds) => expect(parseClock(text)).toBe(seconds));

  it.each(['', 'x', '1:75', '1:61:00', '-3', '1:2:3:4'])('refuses %s', (text) => expect(parseClock(text)).toBeNull());

  it('reads what clock writes', () => {
    for (const s of [0, 7.5, 61.25, 3599.75, 7261.5]) expect(parseClock(clock(s, true))).toBeCloseTo(s, 2);
  });
});

describe('words', () => {
  it('speaks times', () => {
    expect(spoken(3661)).toBe('1 hour 1 minute 1 second');
    expect(spoken(0)).toBe('0 seconds');
    expect(spoken(120)).toBe('2 minutes');
  });

  it('estimates without false precision', () => {
    expect(roughly(3)).toBe('a few seconds');
    expect(roughly(41)).toBe('about 50 s');
    expect(roughly(290)).toBe('about 5 min');
    expect(roughly(3700)).toBe('about 1 h 2 min');
    expect(roughly(Infinity)).toBe('a long time');
  });

  it('says how long ago', () => {
    const now = Date.parse('2026-11-21T12:00:00Z');
    expect(ago('2026-11-21T11:59:40Z', now)).toBe('just now');
    expect(ago('2026-11-21T11:48:00Z', now)).toBe('12 min ago');
    expect(ago('nonsense', now)).toBe('');
  });
});

describe('frames', () => {
  const rates = [
    { num: 25, den: 1 },
    { num: 30000, den: 1001 },
    { num: 60000, den: 1001 },
  ];

  it('seeks to the middle of the frame that it means, at any rate', () => {
    for (const rate of rates) {
      for (const frame of [0, 1, 999, 100_000, 647_352]) expect(frameAt(middleOfFrame(frame, rate), rate)).toBe(frame);
    }
  });

  it('does not fall back a frame at a frame border', () => {
    for (const rate of rates) {
      for (const frame of [1, 30, 1798, 53_946]) expect(frameAt((frame * rate.den) / rate.num, rate)).toBe(frame);
    }
  });
});
