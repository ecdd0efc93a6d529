import { describe, expect, it, vi } from 'vitest';
import { Problem, Unreachable } from '../api/problem';
import type { PartTarget, Upload } from '../api/types';
import { type Backend, Transfer } from './transfer';

const PART = 10;

/** A store in memory whose network can be cut. */
class Store implements Backend {
  received = new Set<number>();
  isCut = false;
  refusal: Problem | null = null;
  /** Parts that get through before the others have to wait for `release`. */
  room = Infinity;
  #held: (() => void)[] = [];
  puts: number[] = [];
  state: Upload['state'] = 'open';

  constructor(readonly size: number) {}

  fingerprint = () => Promise.resolve('f');
  begin = () => this.#reach(() => this.upload());
  look = () => this.#reach(() => this.upload());
  target = (_: Upload, number: number) => this.#reach(() => ({ number, url: `/${number}` }) as PartTarget);
  remove = vi.fn(() => Promise.resolve());

  async put(target: PartTarget, _body: Blob, onProgress: (bytes: number) => void): Promise<void> {
    await this.#reach(() => undefined);
    onProgress(5);
    if (this.room === 0) await new Promise<void>((resolve) => this.#held.push(resolve));
    else this.room -= 1;
    await this.#reach(() => undefined);
    if (this.refusal) throw this.refusal;
    this.puts.push(target.number);
    this.received.add(target.number);
  }

  complete = () =>
    this.#reach(() => {
      if (this.received.size * PART < this.size) throw new Problem(409, 'conflict', 'parts are missing', null);
      this.state = 'completed';
      return this.upload();
    });

  release(): void {
    this.room = Infinity;
    for (const resolve of this.#held.splice(0)) resolve();
  }

  upload(): Upload {
    const received = [...this.received].map((number) => ({ number, size_bytes: PART }));
    return {
      id: 'u',
      state: this.state,
      filename: 'final.mp4',
      size_bytes: this.size,
      fingerprint: 'f',
      checksum: null,
      part_size_bytes: PART,
      parts_total: Math.ceil(this.size / PART),
      received,
      received_bytes: received.length * PART,
      created_at: '',
      expires_at: '',
      source: null,
      job_id: this.state === 'completed' ? 'j' : null,
      job_problem: null,
    };
  }

  async #reach<T>(act: () => T): Promise<T> {
    await Promise.resolve();
    if (this.isCut) throw new Unreachable();
    return act();
  }
}

const begin = (store: Store) => new Transfer(new File([new Uint8Array(store.size)], 'final.mp4'), store);
const until = (transfer: Transfer, state: string) =>
  vi.waitFor(() => expect(transfer.state.value).toBe(state), { timeout: 5000, interval: 5 });

describe('Transfer', () => {
  it('sends every part once and ends with a job', async () => {
    const store = new Store(70);
    const transfer = begin(store);
    void transfer.start();
    await until(transfer, 'done');
    expect(store.puts.sort()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect([transfer.sentBytes.value, transfer.upload.value?.job_id]).toEqual([70, 'j']);
  });

  it('sends only what is missing of a file that was begun before', async () => {
    const store = new Store(50);
    for (const n of [1, 2, 4]) store.received.add(n);
    const transfer = begin(store);
    void transfer.start();
    await until(transfer, 'done');
    expect(store.puts.sort()).toEqual([3, 5]);
    expect(transfer.isResumed.value).toBe(true);
  });

  it('waits while the network is cut and goes on by itself', async () => {
    const store = new Store(50);
    store.room = 1;
    const transfer = begin(store);
    void transfer.start();
    await vi.waitFor(() => expect(store.puts).toEqual([1]));
    store.isCut = true;
    store.release();
    await until(transfer, 'lost');
    store.isCut = false;
    transfer.hurry();
    await until(transfer, 'done');
    expect([...store.received].sort()).toEqual([1, 2, 3, 4, 5]);
  });

  it('gives up what is on its way when the network goes, and sends it again', async () => {
    const store = new Store(50);
    store.room = 1;
    const transfer = begin(store);
    void transfer.start();
    await vi.waitFor(() => expect(transfer.sentBytes.value).toBe(10 + 3 * 5));
    transfer.cutOff();
    expect([transfer.state.value, transfer.sentBytes.value]).toEqual(['lost', 10]);
    store.room = Infinity;
    await until(transfer, 'done');
    expect([...store.received].sort()).toEqual([1, 2, 3, 4, 5]);
  });

  it('stands still while it is paused, and counts only what has arrived', async () => {
    const store = new Store(50);
    store.room = 1;
    const transfer = begin(store);
    void transfer.start();
    await vi.waitFor(() => expect(transfer.sentBytes.value).toBe(10 + 3 * 5));
    transfer.pause();
    expect([transfer.state.value, transfer.sentBytes.value]).toEqual(['paused', 10]);
    store.release();
    await vi.waitFor(() => expect(store.puts).toHaveLength(4));
    expect(transfer.state.value).toBe('paused');
    transfer.resume();
    await until(transfer, 'done');
  });

  it('sends again what the store says it does not have', async () => {
    const store = new Store(30);
    const transfer = begin(store);
    let isFirst = true;
    const complete = store.complete;
    store.complete = () => {
      if (isFirst) store.received.delete(2);
      isFirst = false;
      return complete();
    };
    void transfer.start();
    await until(transfer, 'done');
    expect(store.puts.filter((n) => n === 2)).toHaveLength(2);
  });

  it('ends with the words of a refusal that no try can change', async () => {
    const store = new Store(30);
    store.refusal = new Problem(413, 'too_large', 'The file is larger than 10 GB.', null);
    const transfer = begin(store);
    void transfer.start();
    await until(transfer, 'failed');
    expect(transfer.error.value).toBe('The file is larger than 10 GB.');
  });

  it('asks the store what it has when it is tried again after a failure', async () => {
    const store = new Store(50);
    const transfer = begin(store);
    store.refusal = new Problem(404, 'not_found', 'There is no such upload.', null);
    void transfer.start();
    await until(transfer, 'failed');
    store.refusal = null;
    store.received.add(1);
    transfer.resume();
    await until(transfer, 'done');
    expect([store.puts.includes(1), transfer.error.value]).toEqual([false, null]);
  });

  it('tells the store when it is cancelled', async () => {
    const store = new Store(50);
    store.room = 0;
    const transfer = begin(store);
    void transfer.start();
    await until(transfer, 'sending');
    await transfer.cancel();
    expect(transfer.state.value).toBe('cancelled');
    expect(store.remove).toHaveBeenCalledWith('u');
  });

  it('leaves what was sent in the store when somebody else signs in', async () => {
    const store = new Store(50);
    store.room = 2;
    const transfer = begin(store);
    void transfer.start();
    await vi.waitFor(() => expect(store.received.size).toBe(2), { timeout: 5000, interval: 5 });
    transfer.leave();
    store.release();
    await Promise.resolve();
    expect([transfer.state.value, store.remove.mock.calls.length]).toEqual(['cancelled', 0]);
    expect(store.received.size).toBeLessThan(5);
  });
});
