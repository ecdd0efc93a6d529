import { expect, it } from 'vitest';
import { spans, timeAt, withPoint } from './ranges';

it('turns times into shares and keeps them on the line', () => {
  expect(
    spans(
      [
        [0, 30],
        [50, 500],
        [200, 300],
      ],
      100,
    ),
  ).toEqual([
    { from: 0, to: 30 },
    { from: 50, to: 100 },
  ]);
  expect(spans([[0, 1]], 0)).toEqual([]);
  expect(spans([[0, 1]], NaN)).toEqual([]);
});

it('finds the time under a pointer, also beside the line', () => {
  expect([100, 150, 300, 0].map((x) => timeAt(x, 100, 100, 60))).toEqual([0, 30, 60, 0]);
  expect(timeAt(5, 0, 0, 60)).toBe(0);
});

it('lets the other point of a clip give way', () => {
  expect(withPoint({ start: 10, end: 20 }, 'start', 15)).toEqual({ start: 15, end: 20 });
  expect(withPoint({ start: 10, end: 20 }, 'start', 25)).toEqual({ start: 25, end: null });
  expect(withPoint({ start: 10, end: 20 }, 'end', 5)).toEqual({ start: null, end: 5 });
});
