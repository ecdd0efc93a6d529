import { expect, it, vi } from 'vitest';

vi.stubGlobal('location', { pathname: '/', hash: '' });
vi.stubGlobal('addEventListener', () => undefined);
const { parseRoute } = await import('./router');

it.each([
  ['/', '', { page: 'matches' }],
  ['/ops', '', { page: 'fleet' }],
  ['/jobs/0192f000-0000-7000-8000-000000000001', '', { page: 'watch', job: '0192f000-0000-7000-8000-000000000001' }],
  ['/watch', '#to.ken-_1', { page: 'shared', token: 'to.ken-_1' }],
  ['/watch', '', { page: 'missing' }],
  ['/jobs/', '', { page: 'missing' }],
  ['/jobs/a/b', '', { page: 'missing' }],
  ['/v1/jobs', '', { page: 'missing' }],
])('%s%s leads to its page', (path, hash, route) => expect(parseRoute(path, hash)).toEqual(route));
