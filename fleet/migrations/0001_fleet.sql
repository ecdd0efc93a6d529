-- The fleet's state. Everything lies in a schema of its own, so that it can live in a database with other things in it.
create schema if not exists touchline;

create table touchline.organisations (
    id         uuid primary key,
    name       text not null unique check (length(name) between 1 and 200),
    -- Share of the fleet under contention, relative to other organisations.
    weight     integer not null default 1 check (weight between 1 and 1000),
    created_at timestamptz not null default now()
);

create table touchline.jobs (
    id              uuid primary key,
    organisation_id uuid not null references touchline.organisations,
    state           text not null default 'queued' check (
        state in ('queued', 'planning', 'running', 'publishing', 'succeeded', 'failed', 'cancelled')),
    title           text not null default '',
    -- A path, s3://bucket/key or https:// address.
    source          text not null,
    -- Names the bytes that were planned; chunks refuse others.
    source_identity text,
    ladder          jsonb not null,
    -- auto, nvenc or x264 as asked; backend as planned. All chunks of a job run on one backend: one init segment fits all.
    encoder         text not null default 'auto' check (encoder in ('auto', 'nvenc', 'x264')),
    backend         text,
    home_region     text not null,
    ready_by        timestamptz,
    -- "This minute first": segments from here on are released before others.
    focus_segment   bigint not null default 0,
    -- Counts the plans: outputs of a withdrawn plan never mix with those of the next.
    generation      integer not null default 1,
    plan            jsonb,
    notes           jsonb not null default '[]',
    warnings        jsonb not null default '[]',
    expected_frames bigint,
    end_frames      bigint,
    damaged         bigint not null default 0,
    watchable_ms    bigint not null default 0,
    duration_ms     bigint,
    summary         jsonb,
    failure_code    text,
    failure_message text,
    created_at      timestamptz not null default now(),
    planned_at      timestamptz,
    first_playable_at timestamptz,
    finished_at     timestamptz,
    updated_at      timestamptz not null default now(),
    constraint finished_iff_final check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null)),
    constraint code_iff_failed check ((state = 'failed') = (failure_code is not null))
);
create index jobs_active on touchline.jobs (organisation_id, ready_by, created_at)
    where state in ('queued', 'planning', 'running', 'publishing');
create index jobs_by_time on touchline.jobs (organisation_id, created_at desc);
create index jobs_finished on touchline.jobs (finished_at) where finished_at is not null;

create table touchline.chunks (
    job_id        uuid not null references touchline.jobs on delete cascade,
    chunk         integer not null,
    kind          text not null check (kind in ('plan', 'video', 'audio')),
    state         text not null default 'waiting' check (
        state in ('waiting', 'queued', 'running', 'done', 'failed', 'cancelled')),
    -- The fencing token: names the one try that may change anything.
    attempt       integer not null default 1 check (attempt >= 1),
    -- Order within the job.
    position      bigint not null,
    -- Video: segments [first_segment, end_segment), open-ended without an end. Audio: the whole of one rendition.
    first_segment bigint not null default 0,
    end_segment   bigint,
    rendition     text,
    -- Media seconds, for estimates.
    seconds       double precision not null default 0,
    region        text,
    worker_id     uuid,
    lease_until   timestamptz,
    -- Workers that fell silent, and tries that failed, since a segment was last committed.
    deaths        integer not null default 0,
    tries         integer not null default 0,
    not_before    timestamptz not null default now(),
    queued_at     timestamptz,
    -- When the message was last sent, and how often.
    sent_at       timestamptz,
    sends         integer not null default 0,
    claimed_at    timestamptz,
    finished_at   timestamptz,
    progress      bigint not null default 0,
    -- Why the last attempt did not end well.
    last_code     text,
    last_message  text,
    primary key (job_id, chunk),
    constraint lease_iff_running check (
        (state = 'running') = (lease_until is not null) and (state = 'running') <= (worker_id is not null))
);
create index chunks_waiting on touchline.chunks (job_id, position) where state = 'waiting';
create index chunks_leases on touchline.chunks (lease_until) where state = 'running';
create index chunks_queued on touchline.chunks (region, sent_at) where state = 'queued';
create index chunks_running on touchline.chunks (worker_id) where state = 'running';

create table touchline.attempts (
    job_id      uuid not null,
    chunk       integer not null,
    attempt     integer not null,
    worker_id   uuid not null,
    region      text not null,
    claimed_at  timestamptz not null default now(),
    ended_at    timestamptz,
    outcome     text check (outcome in ('done', 'lost', 'handed_back', 'try_again', 'gave_up', 'job_ended')),
    code        text,
    message     text,
    -- Output frames (video) or samples (audio) that this attempt made, and those of them that were committed.
    made        bigint not null default 0,
    primary key (job_id, chunk, attempt),
    foreign key (job_id, chunk) references touchline.chunks on delete cascade
);

create table touchline.renditions (
    job_id    uuid not null references touchline.jobs on delete cascade,
    name      text not null,
    kind      text not null check (kind in ('video', 'audio', 'storyboard', 'poster')),
    init_key  text,
    init      jsonb,
    -- A sound track is complete.
    ended     boolean not null default false,
    primary key (job_id, name)
);

create table touchline.segments (
    job_id       uuid not null,
    rendition    text not null,
    index        bigint not null,
    chunk        integer not null,
    attempt      integer not null,
    -- File below the rendition's folder.
    uri          text not null,
    bytes        bigint not null,
    first        bigint not null,
    count        bigint not null,
    seconds      double precision not null,
    facts        jsonb not null,
    committed_at timestamptz not null default now(),
    primary key (job_id, rendition, index),
    foreign key (job_id, rendition) references touchline.renditions on delete cascade
);
create index segments_by_chunk on touchline.segments (job_id, chunk);

create table touchline.workers (
    id           uuid primary key,
    region       text not null,
    pool         text not null default '',
    host         text not null,
    version      text not null,
    backends     text[] not null,
    slots        integer not null,
    busy         integer not null default 0,
    state        text not null default 'ready' check (state in ('ready', 'draining', 'gone')),
    -- What the dispatcher asks of it; read with each heartbeat.
    command      text check (command in ('drain')),
    gpu          jsonb,
    started_at   timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    idle_since   timestamptz default now(),
    gone_at      timestamptz
);
create index workers_alive on touchline.workers (region, heartbeat_at) where state <> 'gone';

create table touchline.regions (
    name       text primary key,
    healthy    boolean not null default true,
    reason     text not null default '',
    -- Since when calls to its queue fail without one success between.
    failing_since timestamptz,
    -- When its health changed last.
    marked_at  timestamptz not null default now(),
    checked_at timestamptz not null default now()
);

-- Messages on their way: committed with the change that they tell of, sent by the relay, deleted when the queue has them.
create table touchline.outbox (
    id         bigint generated always as identity primary key,
    region     text not null,
    job_id     uuid not null,
    chunk      integer not null,
    attempt    integer not null,
    created_at timestamptz not null default now(),
    not_before timestamptz not null default now()
);
create index outbox_by_region on touchline.outbox (region, not_before, id);

-- What happened to jobs, in order; never changed. Readers keep their own place.
create table touchline.events (
    id              bigint generated always as identity primary key,
    organisation_id uuid not null,
    job_id          uuid not null,
    type            text not null,
    at              timestamptz not null default now(),
    data            jsonb not null default '{}'
);
create index events_by_job on touchline.events (job_id, id);

create table touchline.usage (
    job_id          uuid primary key,
    organisation_id uuid not null,
    finished_at     timestamptz not null default now(),
    source_seconds  double precision not null,
    output_bytes    bigint not null,
    segments        bigint not null
);

-- Where each growing presentation stands; the row is also the lock of its publisher.
create table touchline.publications (
    job_id      uuid primary key references touchline.jobs on delete cascade,
    listed      bigint not null default 0,
    appended_at timestamptz,
    -- Version of each growing playlist in the store: a late writer must not shorten it.
    etags       jsonb not null default '{}',
    master      boolean not null default false,
    -- What lost attempts left in the store is deleted.
    swept       boolean not null default false
);

create table touchline.queue_messages (
    id            bigint generated always as identity primary key,
    queue         text not null,
    body          jsonb not null,
    visible_at    timestamptz not null default now(),
    sent_at       timestamptz not null default now(),
    receive_count integer not null default 0,
    delivery      uuid
);
create index queue_messages_visible on touchline.queue_messages (queue, visible_at);

-- What a worker may do, and no more. Whoever runs the fleet grants this role to the worker's login.
do $$
begin
    if not exists (select from pg_roles where rolname = 'touchline_worker') then
        create role touchline_worker nologin;
    end if;
exception when insufficient_privilege or duplicate_object or unique_violation then
    raise notice 'role touchline_worker was not created: %', sqlerrm;
end $$;
do $$
begin
    if exists (select from pg_roles where rolname = 'touchline_worker') then
        grant usage on schema touchline to touchline_worker;
        grant select (id, organisation_id, state, source, source_identity, ladder, encoder, backend, generation, plan,
            expected_frames, end_frames, damaged) on touchline.jobs to touchline_worker;
        grant update (state, source_identity, backend, plan, notes, warnings, expected_frames, end_frames, damaged,
            planned_at, updated_at, duration_ms) on touchline.jobs to touchline_worker;
        grant select, insert on touchline.chunks to touchline_worker;
        grant update (state, attempt, worker_id, lease_until, deaths, tries, not_before, claimed_at, finished_at,
            progress, last_code, last_message) on touchline.chunks to touchline_worker;
        grant select, insert, update on touchline.attempts to touchline_worker;
        grant select, insert on touchline.renditions to touchline_worker;
        grant update (init_key, init, ended) on touchline.renditions to touchline_worker;
        grant select, insert on touchline.segments to touchline_worker;
        grant select, insert, update on touchline.workers to touchline_worker;
        grant select, insert, update, delete on touchline.queue_messages to touchline_worker;
    end if;
end $$;
