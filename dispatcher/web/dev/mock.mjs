// A stand-in for the dispatcher's API, for work on the pages alone: `node dev/mock.mjs FOLDER [--speed 4] [--port 8088]`.
// FOLDER is what `worker transcode match.mp4 FOLDER` made; every match plays it, and matches at work reveal it bit by bit.

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { answer } from './mock/api.mjs';
import { media, readPresentation } from './mock/media.mjs';
import { pages } from './mock/pages.mjs';
import { World } from './mock/world.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { speed: { type: 'string', default: '4' }, port: { type: 'string', default: '8088' } },
});
const folder = positionals[0];
if (!folder) {
  console.error('usage: node dev/mock.mjs FOLDER   (made by: worker transcode match.mp4 FOLDER)');
  process.exit(2);
}
const presentation = readPresentation(folder);
const world = new World(presentation, Number(values.speed));

createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://mock');
  const serve = url.pathname.startsWith('/v1/') ? answer : url.pathname.startsWith('/media/') ? media : pages;
  Promise.resolve(serve(world, request, response, url)).catch((error) => {
    console.error(error);
    response.destroy();
  });
}).listen(Number(values.port), '127.0.0.1', () => {
  console.log(`mock at http://127.0.0.1:${values.port}; sign in with tl_demo_secret`);
});
