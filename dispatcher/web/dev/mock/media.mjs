// Playlists and segments of the one presentation that all matches of the mock share.

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';

const TYPES = {
  '.m3u8': 'application/vnd.apple.mpegurl',
  '.mp4': 'video/mp4',
  '.m4s': 'video/mp4',
  '.jpg': 'image/jpeg',
  '.vtt': 'text/vtt',
};

export function readPresentation(folder) {
  const master = readFileSync(join(folder, 'master.m3u8'), 'utf8');
  const first = /^(\S+)\/index\.m3u8$/m.exec(master)?.[1];
  const durations = [...readFileSync(join(folder, first, 'index.m3u8'), 'utf8').matchAll(/#EXTINF:([\d.]+)/g)].map(
    (m) => Number(m[1]),
  );
  return { folder, durations, duration_ms: Math.round(durations.reduce((a, b) => a + b, 0) * 1000) };
}

/** How many segments are over by then. */
export function segmentsUntil(durations, ms) {
  let sum = 0;
  const beyond = durations.findIndex((d) => (sum += d * 1000) > ms + 1);
  return beyond < 0 ? durations.length : beyond;
}

/** `/media/{job}/…`; a clip is `/media/{job}/clip-{first}-{last}/…`. */
export async function media(world, _request, response, url) {
  const [, , id, ...rest] = url.pathname.split('/');
  const job = world.jobs.find((j) => j.id === id);
  const span = /^clip-(\d+)-(\d+)$/.exec(rest[0] ?? '');
  const path = normalize((span ? rest.slice(1) : rest).join('/'));
  if (!job || path.startsWith('..')) return end(response, 404);
  const file = (name) => readFile(join(world.presentation.folder, name));
  const type = TYPES[extname(path)] ?? 'application/octet-stream';
  try {
    if (path === 'watch.m3u8') {
      const text = (await file('master.m3u8')).toString().replace(/^#EXT-X-I-FRAME.*\n/gm, '');
      return end(response, 200, type, text.replaceAll('index.m3u8', 'watch.m3u8'));
    }
    if (path.endsWith('/watch.m3u8')) {
      const text = (await file(path.replace('watch', 'index'))).toString();
      return end(response, 200, type, growing(text, segmentsUntil(world.presentation.durations, job.watchable_ms)));
    }
    if (span && path.endsWith('/index.m3u8')) {
      return end(response, 200, type, cut((await file(path)).toString(), Number(span[1]), Number(span[2])));
    }
    return end(response, 200, type, await file(path));
  } catch {
    return end(response, 404);
  }
}

function growing(text, count) {
  const [head, entries] = take(text);
  return `${head.replace('PLAYLIST-TYPE:VOD', 'PLAYLIST-TYPE:EVENT')}${entries.slice(0, count).join('')}`;
}

function cut(text, first, last) {
  const [head, entries] = take(text);
  return `${head}${entries.slice(first, last + 1).join('')}#EXT-X-ENDLIST\n`;
}

function take(text) {
  const at = text.indexOf('#EXTINF');
  return [text.slice(0, at), text.slice(at).match(/#EXTINF.*\n(?:#.*\n)*(?!#).+\n/g) ?? []];
}

function end(response, status, type = 'text/plain', body = '') {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
}
