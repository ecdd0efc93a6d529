// Sends one part to where it belongs. XMLHttpRequest, because fetch tells no progress of what it sends.

import { Problem, Unreachable, readProblem } from '../api/problem';
import type { PartTarget } from '../api/types';

/** Without any progress for so long, in ms, the connection counts as dead. */
const STALL = 30_000;

/** @throws Unreachable when the connection breaks or stalls, Problem when the store refuses, AbortError when stopped. */
export function put(
  target: PartTarget,
  body: Blob,
  onProgress: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(target.method, target.url);
    for (const [name, value] of Object.entries(target.headers)) {
      // Browsers set these themselves and refuse to be told.
      if (!/^(host|content-length)$/i.test(name)) request.setRequestHeader(name, value);
    }
    const stalled = () => request.abort();
    let watchdog = setTimeout(stalled, STALL);
    const stop = () => request.abort();
    const settle = (act: () => void) => {
      clearTimeout(watchdog);
      signal.removeEventListener('abort', stop);
      act();
    };
    signal.addEventListener('abort', stop);
    request.upload.onprogress = (event) => {
      clearTimeout(watchdog);
      watchdog = setTimeout(stalled, STALL);
      onProgress(event.loaded);
    };
    request.onload = () =>
      settle(() => (request.status < 300 ? resolve() : reject(refusal(request.status, request.responseText))));
    request.onerror = () => settle(() => reject(new Unreachable()));
    request.onabort = () =>
      settle(() => reject(signal.aborted ? new DOMException('stopped', 'AbortError') : new Unreachable()));
    if (signal.aborted) stop();
    else request.send(body);
  });
}

function refusal(status: number, text: string): Problem {
  const problem = readProblem(status, text);
  return problem.code === 'unknown'
    ? new Problem(status, 'store', `The store refused a part (${status}).`, null)
    : problem;
}

/** Whether a fresh address can help: it expired, the bytes were damaged, or the try that broke off still holds the part. */
export function canBeSentAgain(error: unknown): boolean {
  if (error instanceof Unreachable) return true;
  return error instanceof Problem && (error.status >= 500 || [400, 403, 408, 409, 422, 429].includes(error.status));
}
