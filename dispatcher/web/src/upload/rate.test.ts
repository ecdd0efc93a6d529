import { expect, it } from 'vitest';
import { Rate } from './rate';

it('says nothing before a second has passed', () => {
  const rate = new Rate();
  rate.add(0, 0);
  rate.add(900, 5000);
  expect(rate.bytesPerSecond()).toBeNull();
});

it('looks at the last seconds only', () => {
  const rate = new Rate();
  for (let s = 0; s <= 60; s += 1) rate.add(s * 1000, s <= 30 ? s * 100 : 3000 + (s - 30) * 1000);
  expect(rate.bytesPerSecond()).toBeCloseTo(1000, 0);
});

it('starts over when a part has to be sent again', () => {
  const rate = new Rate();
  rate.add(0, 0);
  rate.add(5000, 5000);
  rate.add(6000, 2000);
  expect(rate.bytesPerSecond()).toBeNull();
  rate.add(8000, 4000);
  expect(rate.bytesPerSecond()).toBe(1000);
});
