// The JSON of the HTTP API, version 1, as far as the pages read it.

export interface FrameRate {
  num: number;
  den: number;
}

export interface Me {
  organisation: { id: string; name: string; tier: string; weight: number };
  key: { id: string; prefix: string; name: string; scopes: string[] };
  limits: {
    concurrent_jobs: number;
    minutes_a_month: number | null;
    storage_bytes: number | null;
    largest_file_bytes: number | null;
  };
  usage: { minutes_this_month: number; storage_bytes: number; active_jobs: number };
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
  part_size_bytes: number;
  parts_total: number;
  received: { number: number; size_bytes: number }[];
  received_bytes: number;
  created_at: string;
  expires_at: string;
  source: string | null;
  job_id: string | null;
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
  failure: { code: string; message: string; detail: string | null } | null;
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
  duration_ms: number | null;
  frame_rate: FrameRate | null;
  expires_at: string;
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
  state: string;
  url: string;
  created_at: string;
  download: { state: 'none' | 'queued' | 'running' | 'ready' | 'failed'; url: string | null };
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
  job: Job | null;
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
  pool: string | null;
  host: string;
  version: string;
  backends: string[];
  slots: number;
  busy: number;
  state: 'ready' | 'draining' | 'gone';
  gpu: Gpu | null;
  started_at: string;
  heartbeat_at: string;
  idle_since: string | null;
}

export interface Region {
  name: string;
  healthy: boolean;
  reason: string | null;
  queued: number;
  running: number;
  slots: number;
  workers: number;
  queue: { visible: number; in_flight: number; dead: number } | null;
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
  jobs: {
    queued: number;
    planning: number;
    running: number;
    publishing: number;
    succeeded_24h: number;
    failed_24h: number;
  };
  backlog: { chunks: number; media_s: number; unsent_messages: number };
  regions: Region[];
  workers: Worker[];
  pools: Pool[];
  decisions: { at: string; action: string; reason: string }[];
  costs: { today_usd: number; month_usd: number; waste_usd: number } | null;
}
