// The JSON of the HTTP API, version 1, as far as the pages read it.

export interface FrameRate {
  num: number;
  den: number;
}

export interface Me {
  organisation: { id: string; name: string; tier: string; weight: number; monthly_cap_micros: number | null };
  scopes: string[];
  limits: {
    concurrent_jobs: number | null;
    minutes_a_month: number | null;
    storage_bytes: number | null;
    largest_file_bytes: number | null;
  };
  usage: {
    minutes_this_month: number;
    storage_bytes: number;
    active_jobs: number;
    /** Millionths of a US dollar. */
    cost_this_month_micros: number;
    /** What the monthly cap stops. */
    cap: { code: string; stops: 'new_jobs' | 'all'; message: string; since: string | null } | null;
  };
}

/** What a match will cost, in millionths of a US dollar, and how long it will take. */
export interface Quote {
  price: { low_micros: number; likely_micros: number; high_micros: number } | null;
  playable: { soon_s: number; late_s: number } | null;
  done: { soon_s: number; late_s: number } | null;
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export interface Upload {
  id: string;
  state: 'open' | 'completed' | 'aborted' | 'expired';
  filename: string;
  size_bytes: number;
  fingerprint: string | null;
  /** What every part must come with. */
  checksum: 'sha256' | null;
  part_size_bytes: number;
  parts_total: number;
  received: { number: number; size_bytes: number }[];
  received_bytes: number;
  created_at: string;
  expires_at: string;
  source: string | null;
  job_id: string | null;
  /** Why the file, which is there, did not become a job. */
  job_problem: { code: string; title: string } | null;
}

export interface PartTarget {
  number: number;
  size_bytes: number;
  url: string;
  method: 'PUT';
  headers: Record<string, string>;
  expires_at: string;
}

export type JobState = 'queued' | 'planning' | 'running' | 'publishing' | 'succeeded' | 'failed' | 'cancelled';

export interface Job {
  id: string;
  organisation_id: string;
  title: string;
  state: JobState;
  source: string;
  ladder: string;
  encoder: string;
  backend: string | null;
  home_region: string;
  created_at: string;
  planned_at: string | null;
  first_playable_at: string | null;
  finished_at: string | null;
  ready_by: string | null;
  duration_ms: number | null;
  watchable_ms: number;
  /** From 0 to 1. */
  progress: number;
  frame_rate: FrameRate | null;
  failure: { code: string; message: string; retryable: boolean; detail: string | null } | null;
  warnings: string[];
  playable: boolean;
  complete: boolean;
  upload_id: string | null;
}

export interface Playback {
  url: string | null;
  watch_url: string | null;
  master_url: string | null;
  poster_url: string | null;
  thumbnails_url: string | null;
  complete: boolean;
  watchable_ms: number;
  /** Where in the match `url` begins: later than 0 when a minute was put first and what precedes it is not there yet. */
  starts_at_ms: number;
  /** By how much pictures and sound are shown after their place, seen from the first decode time. */
  presentation_offset_ms: number;
  duration_ms: number | null;
  frame_rate: FrameRate | null;
  title: string;
  expires_at: string;
}

/** What a shared link plays: a match, or a clip, which begins `offset_s` into its playlist. */
export interface SharedPlayback extends Playback {
  offset_s: number | null;
  length_s: number | null;
}

export interface Clip {
  id: string;
  job_id: string;
  title: string;
  start_s: number;
  end_s: number;
  /** Where the wanted start lies in the clip's own playlist, which begins with a whole segment. */
  offset_s: number;
  length_s: number;
  url: string;
  expires_at: string;
  created_at: string;
  /** A file of exactly these frames, made on request; absent where none can be made. */
  download?: {
    state: 'none' | 'queued' | 'running' | 'ready' | 'failed';
    /** Share of its frames, from 0 to 1. */
    progress: number;
    height: number | null;
    url: string | null;
    /** Why there is none, for people. */
    error: string | null;
  };
}

export interface Share {
  url: string;
  expires_at: string;
}

export interface JobEvent {
  type: string;
  at: string;
  job_id: string | null;
  data: Record<string, unknown>;
  /** Absent from progress. */
  job?: Job | null;
}

export interface Gpu {
  name: string;
  encoder_percent: number | null;
  decoder_percent: number | null;
  sessions: number | null;
  free_bytes: number | null;
  total_bytes: number | null;
}

export interface Worker {
  id: string;
  region: string;
  /** Empty for none. */
  pool: string;
  host: string;
  version: string;
  backends: string[];
  slots: number;
  busy: number;
  state: 'ready' | 'draining' | 'gone';
  gpu: Gpu | null;
  started_at: string;
  /** Seconds since its last heartbeat. */
  silent_s: number;
  /** Seconds without work; null while it has some. */
  idle_s: number | null;
}

export interface Region {
  name: string;
  healthy: boolean;
  reason: string;
  queued: number;
  running: number;
  slots: number;
  workers: number;
  queue?: { visible: number; in_flight: number; dead: number | null } | null;
}

export interface Pool {
  name: string;
  region: string;
  instance_type: string;
  option: 'spot' | 'on_demand';
  running: number;
  booting: number;
  limit: number;
  price_per_hour_usd: number | null;
  note: string | null;
}

export interface Fleet {
  /** Those at work, and those that ended within 24 hours. */
  jobs: Record<JobState, number>;
  backlog: { chunks: number; media_s: number; unsent_messages: number; oldest_wait_s: number };
  regions: Region[];
  workers: Worker[];
  /** Absent where the fleet does not scale by itself. */
  pools?: Pool[];
  decisions?: { at: string; action: string; reason: string }[];
  costs?: { today_usd: number; month_usd: number; waste_usd: number } | null;
}
