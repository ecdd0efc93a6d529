// The routes of the mock.

import { fleet } from './fleet.mjs';

const KEY = 'tl_demo_secret';

export async function answer(world, request, response, url) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const raw = Buffer.concat(chunks);
  const send = (status, body) =>
    response
      .writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json' })
      .end(body === undefined ? '' : JSON.stringify(body));
  const refuse = (status, code, title) =>
    send(status, { type: 'about:blank', title, status, code, request_id: 'mock' });
  const at = `${request.method} ${url.pathname}`;

  const put = /^PUT \/v1\/parts\/([\w-]+)\/(\d+)$/.exec(at);
  if (put) {
    const upload = world.uploads.find((u) => u.id === put[1]);
    upload.received.push({ number: Number(put[2]), size_bytes: raw.length });
    upload.received_bytes += raw.length;
    return send(200, {});
  }
  const shared = /^GET \/v1\/shared\/([\w-]+)$/.exec(at);
  if (shared) {
    const job = world.jobs.find((j) => j.id === shared[1]);
    return job
      ? send(200, { ...playback(job), offset_s: null, length_s: null })
      : refuse(404, 'not_found', 'There is no such share.');
  }
  if (request.headers.authorization !== `Bearer ${KEY}`) return refuse(401, 'unauthorized', 'This key is not valid.');
  const body = raw.length > 0 ? JSON.parse(raw.toString()) : {};

  if (at === 'GET /v1/me') return send(200, me(world));
  if (at === 'GET /v1/fleet') return send(200, fleet(world));
  if (at === 'GET /v1/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': keep\n\n');
    const listener = { response, job: url.searchParams.get('job_id') };
    world.listeners.add(listener);
    request.on('close', () => world.listeners.delete(listener));
    return undefined;
  }
  if (at === 'GET /v1/jobs') return send(200, list(world, url.searchParams));
  if (at === 'POST /v1/uploads') return send(201, world.begin(body));
  if (at === 'GET /v1/uploads')
    return send(200, {
      items: world.uploads.filter((u) => u.state === url.searchParams.get('state')),
      next_cursor: null,
    });
  const upload = /^(\w+) \/v1\/uploads\/([\w-]+)(?:\/(\w+))?$/.exec(at);
  if (upload)
    return uploads(
      world,
      upload[1],
      world.uploads.find((u) => u.id === upload[2]),
      upload[3],
      body,
      send,
    );
  if (at === 'POST /v1/quote') {
    return send(200, {
      price: { low_micros: 82_888, likely_micros: 112_940, high_micros: 290_772 },
      playable: { soon_s: 7, late_s: 552 },
      done: { soon_s: 1081, late_s: 1733 },
    });
  }
  const job = /^(\w+) \/v1\/jobs\/([\w-]+)(?:\/(\w+))?$/.exec(at);
  const found = job && world.jobs.find((j) => j.id === job[2]);
  if (found) return jobs(world, `${job[1]} ${job[3] ?? ''}`.trim(), found, body, send);
  const clip = /^(\w+) \/v1\/clips\/([\w-]+)(?:\/(\w+))?$/.exec(at);
  const of = clip && world.clips.find((c) => c.id === clip[2]);
  if (of) return clips(world, `${clip[1]} ${clip[3] ?? ''}`.trim(), of, body, send);
  if (/^POST \/v1\/(workers\/[\w-]+\/drain|redrive)$/.test(at)) return send(200, {});
  return refuse(404, 'not_found', 'There is nothing at this address.');
}

function me(world) {
  return {
    organisation: { id: 'club', name: 'Rovers FC', tier: 'club', weight: 1, monthly_cap_micros: 25e6 },
    scopes: ['jobs:read', 'jobs:write', 'uploads:write', 'clips:write', 'usage:read', 'ops'],
    limits: { concurrent_jobs: 8, minutes_a_month: 6000, storage_bytes: 500e9, largest_file_bytes: 100e9 },
    usage: {
      minutes_this_month: 1240,
      storage_bytes: 83e9,
      active_jobs: world.jobs.filter((j) => j.state === 'running').length,
      cost_this_month_micros: 3.41e6,
      cap: null,
    },
  };
}

function list(world, query) {
  const states = query.get('state')?.split(',') ?? [];
  const q = query.get('q')?.toLowerCase();
  const items = world.jobs.filter(
    (j) => (states.length === 0 || states.includes(j.state)) && (!q || j.title.toLowerCase().includes(q)),
  );
  return { items, next_cursor: null };
}

function playback(job) {
  const base = `/media/${job.id}`;
  const { title, watchable_ms, duration_ms, frame_rate, complete } = job;
  const watch_url = job.playable ? `${base}/watch.m3u8` : null;
  const master_url = complete ? `${base}/master.m3u8` : null;
  return {
    url: master_url ?? watch_url,
    watch_url,
    starts_at_ms: 0,
    presentation_offset_ms: 200,
    master_url,
    poster_url: job.playable ? `${base}/poster.jpg` : null,
    thumbnails_url: job.playable ? `${base}/thumbnails.vtt` : null,
    complete,
    watchable_ms,
    duration_ms,
    frame_rate,
    title,
    expires_at: new Date(Date.now() + 3.6e6).toISOString(),
  };
}

function uploads(world, method, upload, action, body, send) {
  if (action === 'parts') {
    const part = (p) => ({
      number: p.number,
      size_bytes: 0,
      url: `/v1/parts/${upload.id}/${p.number}`,
      method: 'PUT',
      headers: {},
      expires_at: upload.expires_at,
    });
    return send(200, { parts: body.parts.map(part) });
  }
  if (action === 'complete') world.complete(upload);
  if (method === 'DELETE') upload.state = 'aborted';
  return send(200, upload);
}

function jobs(world, act, job, body, send) {
  const share = { url: `/watch#${job.id}`, expires_at: new Date(Date.now() + 6e8).toISOString() };
  switch (act) {
    case 'GET':
      return send(200, job);
    case 'PATCH':
      world.change(job, 'renamed', { title: body.title });
      return send(200, job);
    case 'DELETE':
      world.remove(job);
      return send(204);
    case 'GET playback':
      return send(200, playback(job));
    case 'GET why':
      return send(200, {
        state: job.state,
        code: null,
        reasons: ['All machines are busy with matches that came first.'],
      });
    case 'GET clips':
      return send(200, { items: world.clips.filter((c) => c.job_id === job.id), next_cursor: null });
    case 'POST clips':
      return send(201, world.clip(job, body));
    case 'POST share':
      return send(200, share);
    case 'POST cancel':
      world.change(job, 'cancelled', { state: 'cancelled' });
      return send(200, job);
    case 'POST retry':
      world.change(job, 'retried', { state: 'planning', failure: null, progress: 0 });
      return send(200, job);
    default:
      return send(200, job);
  }
}

function clips(world, act, clip, body, send) {
  if (act === 'PATCH') clip.title = body.title;
  if (act === 'DELETE') world.clips.splice(world.clips.indexOf(clip), 1);
  if (act === 'POST download')
    clip.download = { state: 'ready', progress: 1, height: 720, url: `/media/${clip.job_id}/poster.jpg`, error: null };
  if (act === 'POST share') return send(200, { url: `/watch#${clip.job_id}`, expires_at: clip.created_at });
  return send(200, clip);
}
