// Calls of the HTTP API with the key of this session.

import { key, keyRefused } from '../session';
import { Unreachable, readProblem } from './problem';

interface Options {
  method?: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  body?: unknown;
  signal?: AbortSignal;
  /** Sent as `Idempotency-Key`, so that a repeated POST does nothing twice. */
  once?: string;
  /** Instead of the session's key. */
  as?: string;
}

/** Calls the API and gives its JSON (`undefined` for an empty answer).
 *
 * @throws Problem for an answer other than success, Unreachable for none.
 */
export async function call<T>(path: string, options: Options = {}): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' };
  const bearer = options.as ?? key.value;
  if (bearer) headers['authorization'] = `Bearer ${bearer}`;
  if (options.once) headers['idempotency-key'] = options.once;
  const init: RequestInit = { method: options.method ?? 'GET', headers, cache: 'no-store' };
  if (options.signal) init.signal = options.signal;
  if (options.body !== undefined) {
    headers['content-type'] = 'application/json';
    init.body = JSON.stringify(options.body);
  }
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, init);
    text = await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Unreachable();
  }
  if (!response.ok) {
    if (response.status === 401 && !options.as && bearer) keyRefused(bearer);
    throw readProblem(response.status, text);
  }
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

/** A name for one intention, for `Idempotency-Key`. Works without a secure context, other than `crypto.randomUUID`. */
export function intention(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
}
