// The built pages with the headers that the dispatcher gives them (`dispatcher/src/pages.rs`).

import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';

const DIST = new URL('../../dist', import.meta.url).pathname;
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; media-src 'self' blob: https:; connect-src 'self' https:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

export async function pages(_world, _request, response, url) {
  const path = normalize(url.pathname);
  const name = extname(path) === '' ? 'index.html' : path;
  try {
    const body = await readFile(join(DIST, name));
    response
      .writeHead(200, {
        'content-type': TYPES[extname(name)] ?? 'application/octet-stream',
        'content-security-policy': POLICY,
      })
      .end(body);
  } catch {
    response.writeHead(404).end();
  }
}
