import { describe, expect, it } from 'vitest';
import { Problem, Unreachable, describe as words, isTransient, readProblem } from './problem';

describe('readProblem', () => {
  it('takes the sentence, the code and the request of a problem', () => {
    const body = { title: 'This key may not do that.', code: 'forbidden', request_id: 'r1', detail: null };
    const problem = readProblem(403, JSON.stringify(body));
    expect([problem.message, problem.code, problem.requestId]).toEqual([
      'This key may not do that.',
      'forbidden',
      'r1',
    ]);
  });

  it('prefers what is wrong with a field to the general title', () => {
    const body = {
      title: 'The request is not valid.',
      errors: [{ field: 'end_s', message: 'must come after start_s' }],
    };
    expect(readProblem(422, JSON.stringify(body)).message).toBe('must come after start_s');
  });

  it.each(['', '<html>Bad gateway</html>', 'null', '[]', '{"title":7}'])('has words for an answer like %j', (text) => {
    expect(readProblem(502, text).message).toMatch(/^Touchline has a problem/);
  });
});

it('knows what to try again', () => {
  const problem = (status: number) => new Problem(status, 'x', 'x', null);
  expect([500, 503, 429, 408].every((s) => isTransient(problem(s)))).toBe(true);
  expect([400, 401, 403, 404, 409, 413].some((s) => isTransient(problem(s)))).toBe(false);
  expect(isTransient(new Unreachable())).toBe(true);
  expect(isTransient(new TypeError('a defect'))).toBe(false);
});

it('shows no internals of a defect', () => {
  expect(words(new TypeError('x is not a function'))).toBe('Something went wrong. Try again.');
});

it('says when a chosen file has gone', () => {
  expect(words(new DOMException('moved', 'NotReadableError'))).toBe(
    'The file cannot be read any more. Choose it again.',
  );
});
