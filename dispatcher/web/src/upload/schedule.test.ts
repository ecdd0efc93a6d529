import { describe, expect, it } from 'vitest';
import { PartSchedule } from './schedule';

const most = () => 1;

describe('PartSchedule', () => {
  it('cuts a file into parts, the last one shorter', () => {
    const schedule = new PartSchedule(25, 10, []);
    expect([1, 2, 3].map((n) => schedule.range(n))).toEqual([
      [0, 10],
      [10, 20],
      [20, 25],
    ]);
  });

  it('sends three at once, in order, and the next when one is done', () => {
    const schedule = new PartSchedule(50, 10, []);
    expect(schedule.take(0)).toEqual([1, 2, 3]);
    expect(schedule.take(0)).toEqual([]);
    schedule.sent(2);
    expect(schedule.take(0)).toEqual([4]);
  });

  it('leaves out what the store already has', () => {
    const schedule = new PartSchedule(50, 10, [1, 3, 5]);
    expect(schedule.take(0)).toEqual([2, 4]);
    expect(schedule.sentBytes).toBe(30);
    schedule.sent(2);
    schedule.sent(4);
    expect(schedule.isComplete).toBe(true);
  });

  it('waits longer after each failure, and tries with one part alone', () => {
    const schedule = new PartSchedule(50, 10, []);
    schedule.take(0);
    schedule.failed(1, 0, most);
    expect(schedule.take(499)).toEqual([]);
    schedule.sent(2);
    schedule.failed(3, 500, most);
    expect(schedule.take(999)).toEqual([]);
    expect(schedule.take(1000)).toEqual([1]);
    schedule.failed(1, 1000, most);
    expect([schedule.take(1999), schedule.take(2000)]).toEqual([[], [1]]);
  });

  it('counts parts that fail with one cut as one failure', () => {
    const schedule = new PartSchedule(50, 10, []);
    schedule.take(0);
    for (const n of [1, 2, 3]) schedule.failed(n, n, most);
    expect(schedule.failures).toBe(1);
  });

  it('goes on with all at once as soon as one part got through', () => {
    const schedule = new PartSchedule(50, 10, []);
    schedule.take(0);
    for (const n of [1, 2, 3]) schedule.failed(n, 0, most);
    expect(schedule.take(10_000)).toEqual([1]);
    schedule.sent(1);
    expect(schedule.take(10_000)).toEqual([2, 3, 4]);
  });

  it('goes on at once when the network is back', () => {
    const schedule = new PartSchedule(10, 10, []);
    schedule.take(0);
    schedule.failed(1, 0, most);
    expect(schedule.take(1)).toEqual([]);
    schedule.hurry();
    expect(schedule.take(1)).toEqual([1]);
  });

  it('counts bytes of parts under way, and takes them back when the part fails', () => {
    const schedule = new PartSchedule(20, 10, []);
    schedule.take(0);
    schedule.progressed(1, 4);
    expect(schedule.sentBytes).toBe(4);
    schedule.failed(1, 0);
    expect(schedule.sentBytes).toBe(0);
  });

  it('takes back all that is being sent when the way is cut, and waits', () => {
    const schedule = new PartSchedule(50, 10, []);
    schedule.take(0);
    schedule.progressed(2, 5);
    schedule.cut(0, most);
    expect([schedule.sentBytes, schedule.failures, schedule.take(499), schedule.take(500)]).toEqual([0, 1, [], [1]]);
  });

  it('hands back what is being sent when it is paused, without blame', () => {
    const schedule = new PartSchedule(50, 10, []);
    schedule.take(0);
    schedule.release();
    expect(schedule.failures).toBe(0);
    expect(schedule.take(0)).toEqual([1, 2, 3]);
  });

  it('sends an empty file as one empty part', () => {
    const schedule = new PartSchedule(0, 10, []);
    expect(schedule.take(0)).toEqual([1]);
    expect(schedule.range(1)).toEqual([0, 0]);
  });
});
