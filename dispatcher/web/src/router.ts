// Addresses of the pages. The server gives index.html for each of them.

import { signal } from '@preact/signals';

export type Route =
  | { page: 'matches' }
  | { page: 'watch'; job: string }
  | { page: 'shared'; token: string }
  | { page: 'fleet' }
  | { page: 'missing' };

export function parseRoute(path: string, hash: string): Route {
  if (path === '/' || path === '') return { page: 'matches' };
  if (path === '/ops') return { page: 'fleet' };
  if (path === '/watch') return hash.length > 1 ? { page: 'shared', token: hash.slice(1) } : { page: 'missing' };
  const job = /^\/jobs\/([\w-]+)$/.exec(path)?.[1];
  return job ? { page: 'watch', job } : { page: 'missing' };
}

const here = () => parseRoute(location.pathname, location.hash);

export const route = signal<Route>(here());

export function go(path: string): void {
  history.pushState(null, '', path);
  route.value = here();
  scrollTo(0, 0);
}

addEventListener('popstate', () => {
  route.value = here();
});

/** Follows links within the pages without loading them anew. */
export function followLinks(): void {
  document.addEventListener('click', (event) => {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (link.hash && link.pathname === location.pathname) return;
    if (parseRoute(link.pathname, link.hash).page === 'missing') return;
    event.preventDefault();
    go(link.pathname + link.hash);
  });
}
