// What the mock knows: matches that move on by themselves, uploads, clips, a fleet.

import { randomUUID } from 'node:crypto';
import { segmentsUntil } from './media.mjs';

const MINUTE = 60_000;

export class World {
  uploads = [];
  clips = [];
  listeners = new Set();

  constructor(presentation, speed) {
    this.presentation = presentation;
    this.speed = speed;
    const ago = (minutes) => new Date(Date.now() - minutes * MINUTE).toISOString();
    const done = {
      state: 'succeeded',
      playable: true,
      complete: true,
      progress: 1,
      watchable_ms: presentation.duration_ms,
    };
    const truncated =
      'The file ends in the middle of the video. Copy it from the camera again and upload it once more.';
    this.jobs = [
      this.job('Rovers v United, second half', {
        state: 'running',
        created_at: ago(2),
        planned_at: ago(0),
        playable: true,
      }),
      this.job('Training, Tuesday', { state: 'queued', created_at: ago(4), duration_ms: null, progress: 0 }),
      this.job('Rovers v United, first half', { ...done, created_at: ago(64), finished_at: ago(41) }),
      this.job('U15 Albion v Rovers', { ...done, created_at: ago(1500), finished_at: ago(1490) }),
      this.job('GOPR0412', {
        state: 'failed',
        created_at: ago(2900),
        failure: {
          code: 'incomplete_file',
          message: truncated,
          retryable: false,
          detail: 'moov atom not found, 1.2 GB of mdat',
        },
      }),
      this.job('Cup final', {
        ...done,
        created_at: ago(9000),
        finished_at: ago(8000),
        warnings: ['The sound of the second half is missing in the file.'],
      }),
    ];
    this.timer = setInterval(() => this.turn(), 500);
  }

  job(title, changes = {}) {
    return {
      id: randomUUID(),
      organisation_id: 'club',
      title,
      state: 'queued',
      source: 'upload',
      ladder: 'sports',
      encoder: 'auto',
      backend: 'x264',
      home_region: 'local',
      created_at: new Date().toISOString(),
      planned_at: null,
      first_playable_at: null,
      finished_at: null,
      ready_by: null,
      duration_ms: this.presentation.duration_ms,
      watchable_ms: 0,
      progress: 0,
      frame_rate: { num: 24, den: 1 },
      failure: null,
      warnings: [],
      playable: false,
      complete: false,
      upload_id: null,
      ...changes,
    };
  }

  /** One step of time: the matches at work get on. */
  turn() {
    for (const job of this.jobs) {
      if (job.state === 'planning')
        this.change(job, 'planned', {
          state: 'running',
          planned_at: new Date().toISOString(),
          duration_ms: this.presentation.duration_ms,
        });
      else if (job.state === 'queued' && job.starts && Date.now() > job.starts)
        this.change(job, 'created', { state: 'planning' });
      else if (job.state === 'running') this.grow(job);
    }
  }

  grow(job) {
    job.progress = Math.min(1, job.progress + (0.5 * this.speed * 1000) / job.duration_ms);
    const { durations } = this.presentation;
    const count = segmentsUntil(durations, job.progress * job.duration_ms);
    job.watchable_ms = Math.round(durations.slice(0, count).reduce((a, b) => a + b, 0) * 1000);
    if (job.progress >= 1) {
      const finished_at = new Date().toISOString();
      this.change(job, 'succeeded', {
        state: 'succeeded',
        complete: true,
        playable: true,
        watchable_ms: job.duration_ms,
        finished_at,
      });
    } else if (!job.playable && count > 0)
      this.change(job, 'playable', { playable: true, first_playable_at: new Date().toISOString() });
    else
      this.tell({
        type: 'job.progress',
        job_id: job.id,
        data: { state: job.state, watchable_ms: job.watchable_ms, progress: job.progress },
      });
  }

  change(job, type, changes) {
    Object.assign(job, changes);
    this.tell({ type: `job.${type}`, job_id: job.id, data: {}, job });
  }

  remove(job) {
    this.jobs.splice(this.jobs.indexOf(job), 1);
    this.change(job, 'deleted', {});
  }

  tell(event) {
    const text = `${event.job ? `id: ${Date.now()}\n` : ''}event: ${event.type}\ndata: ${JSON.stringify({ at: new Date().toISOString(), ...event })}\n\n`;
    for (const listener of this.listeners)
      if (!listener.job || listener.job === event.job_id) listener.response.write(text);
  }

  begin(body) {
    const open = this.uploads.find(
      (u) => u.state === 'open' && u.fingerprint === body.fingerprint && u.size_bytes === body.size_bytes,
    );
    if (open) return open;
    const part = 1 << 20;
    const upload = {
      id: randomUUID(),
      state: 'open',
      filename: body.filename,
      size_bytes: body.size_bytes,
      fingerprint: body.fingerprint,
      checksum: body.checksum ?? null,
      job_problem: null,
      part_size_bytes: part,
      parts_total: Math.ceil(body.size_bytes / part),
      received: [],
      received_bytes: 0,
      created_at: new Date().toISOString(),
      expires_at: new Date(Date.now() + 1440 * MINUTE).toISOString(),
      source: null,
      job_id: null,
      title: body.job?.title ?? body.filename,
    };
    this.uploads.unshift(upload);
    return upload;
  }

  complete(upload) {
    const job = this.job(upload.title, { upload_id: upload.id, duration_ms: null, starts: Date.now() + 1500 });
    this.jobs.unshift(job);
    Object.assign(upload, { state: 'completed', job_id: job.id });
    this.change(job, 'created', {});
  }

  clip(job, body) {
    const { durations } = this.presentation;
    const first = Math.min(segmentsUntil(durations, body.start_s * 1000), durations.length - 1);
    const last = Math.min(segmentsUntil(durations, body.end_s * 1000), durations.length - 1);
    const before = durations.slice(0, first).reduce((a, b) => a + b, 0);
    const clip = {
      id: randomUUID(),
      job_id: job.id,
      title: body.title || 'Clip',
      start_s: body.start_s,
      end_s: body.end_s,
      offset_s: body.start_s - before,
      length_s: body.end_s - body.start_s,
      url: `/media/${job.id}/clip-${first}-${last}/master.m3u8`,
      created_at: new Date().toISOString(),
      download: { state: 'none', progress: 0, height: null, url: null, error: null },
    };
    this.clips.push(clip);
    return clip;
  }
}
