// Errors of the API and of the way to it.

/** An answer other than success, `application/problem+json`. */
export class Problem extends Error {
  override readonly name = 'Problem';

  constructor(
    readonly status: number,
    /** Stable, for programs. */
    readonly code: string,
    /** For people. */
    message: string,
    readonly requestId: string | null,
  ) {
    super(message);
  }
}

/** No answer at all: the network or the server is away. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';

  constructor() {
    super('Touchline cannot be reached. Check the connection.');
  }
}

interface ProblemBody {
  title?: unknown;
  detail?: unknown;
  code?: unknown;
  request_id?: unknown;
  errors?: unknown;
}

/** The problem that an answer states; answers that are none of ours (a proxy's page) count by their status. */
export function readProblem(status: number, text: string): Problem {
  let body: ProblemBody = {};
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null) body = parsed;
  } catch {
    // The status alone has to do.
  }
  const string = (value: unknown) => (typeof value === 'string' && value !== '' ? value : null);
  const fields = Array.isArray(body.errors)
    ? body.errors.map((e: { message?: unknown }) => string(e.message)).filter((m) => m !== null)
    : [];
  const message =
    (fields.length > 0 ? fields.join(' ') : null) ?? string(body.detail) ?? string(body.title) ?? fallback(status);
  return new Problem(status, string(body.code) ?? 'unknown', message, string(body.request_id));
}

function fallback(status: number): string {
  if (status === 401) return 'This key is not valid.';
  if (status === 403) return 'This key may not do that.';
  if (status === 404) return 'It does not exist, or belongs to someone else.';
  if (status === 429) return 'Too many requests. Try again in a moment.';
  if (status >= 500) return 'Touchline has a problem. Try again in a moment.';
  return `The request was refused (${status}).`;
}

/** What to tell a person about anything that was thrown. */
export function describe(error: unknown): string {
  if (error instanceof Problem || error instanceof Unreachable) return error.message;
  // What browsers throw when a chosen file was moved or changed.
  if (error instanceof DOMException && (error.name === 'NotReadableError' || error.name === 'NotFoundError')) {
    return 'The file cannot be read any more. Choose it again.';
  }
  return 'Something went wrong. Try again.';
}

/** Whether trying the same again can help. */
export function isTransient(error: unknown): boolean {
  if (error instanceof Unreachable) return true;
  return error instanceof Problem && (error.status >= 500 || error.status === 429 || error.status === 408);
}
