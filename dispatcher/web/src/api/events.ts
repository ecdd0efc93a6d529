// The stream of events, kept open: connects again with what it heard last.

import { backoff } from '../backoff';
import { key, keyRefused } from '../session';
import { FrameParser } from './sse';
import { readProblem } from './problem';
import type { JobEvent } from './types';

/** Longer silence than this, in ms, means the connection is dead: the server sends a comment every 15 s. */
const SILENCE = 40_000;

interface Listener {
  onEvent(event: JobEvent): void;
  /** The stream is open; after the first time, what happened meanwhile may have been missed. */
  onOpen(again: boolean): void;
  /** The stream broke and will be opened again. */
  onLost(): void;
  /** The match that was listened to is not there any more. */
  onGone?(): void;
}

/** Listens until the function that it gives is called. */
export function listen(jobId: string | null, listener: Listener): () => void {
  const stop = new AbortController();
  void run(jobId, listener, stop.signal);
  return () => stop.abort();
}

async function run(jobId: string | null, listener: Listener, stop: AbortSignal): Promise<void> {
  let lastId: string | null = null;
  let failures = 0;
  let opened = false;
  while (!stop.aborted) {
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    stop.addEventListener('abort', abort, { once: true });
    let watchdog = setTimeout(abort, SILENCE);
    const bearer = key.value ?? '';
    try {
      const headers: Record<string, string> = {
        accept: 'text/event-stream',
        authorization: `Bearer ${bearer}`,
      };
      if (lastId !== null) headers['last-event-id'] = lastId;
      const path = jobId === null ? '/v1/events' : `/v1/events?job_id=${encodeURIComponent(jobId)}`;
      const response = await fetch(path, { headers, signal: attempt.signal, cache: 'no-store' });
      if (response.status === 401) keyRefused(bearer);
      if (response.status === 404 && opened && readProblem(404, await response.text()).code === 'not_found') {
        listener.onGone?.();
      }
      // A key that may not listen, a match that is not there: asking again changes nothing, and other calls tell why.
      if ([401, 403, 404].includes(response.status)) return;
      if (!response.ok || !response.body) throw new Error(`events: ${response.status}`);
      listener.onOpen(opened);
      opened = true;
      failures = 0;
      const parser = new FrameParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        clearTimeout(watchdog);
        watchdog = setTimeout(abort, SILENCE);
        for (const frame of parser.push(value)) {
          if (frame.id !== null) lastId = frame.id;
          listener.onEvent(JSON.parse(frame.data) as JobEvent);
        }
      }
    } catch {
      // Cut, refused or silent: all are answered by another try.
    } finally {
      clearTimeout(watchdog);
      stop.removeEventListener('abort', abort);
    }
    if (stop.aborted) return;
    listener.onLost();
    failures += 1;
    await pause(backoff(failures), stop);
  }
}

/** Waits, but not longer than until the network is back or the listener leaves. */
function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener('online', end);
      stop.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    addEventListener('online', end);
    stop.addEventListener('abort', end);
  });
}
