-- What the HTTP API needs: tiers, keys, uploads, clips, webhooks, the audit log; and row-level security under all of it.

-- ---- organisations ----

-- What an organisation of a tier may use. Null: no limit.
create table touchline.tiers (
    name               text primary key,
    concurrent_jobs    integer check (concurrent_jobs > 0),
    minutes_a_month    integer check (minutes_a_month > 0),
    storage_bytes      bigint check (storage_bytes > 0),
    largest_file_bytes bigint check (largest_file_bytes > 0)
);
insert into touchline.tiers values
    ('unlimited', null, null, null, 107374182400),
    ('club', 20, 6000, 2199023255552, 107374182400),
    ('trial', 2, 300, 107374182400, 21474836480);

alter table touchline.organisations add column tier text not null default 'unlimited' references touchline.tiers;

create table touchline.api_keys (
    id              uuid primary key,
    organisation_id uuid not null references touchline.organisations,
    name            text not null check (length(name) between 1 and 200),
    -- The public part, by which a key is found and spoken of.
    prefix          text not null unique,
    -- SHA-256 of the whole key: it has 256 random bits, so nothing slower is needed.
    hash            bytea not null,
    -- After a rotation the old hash is good until then.
    old_hash        bytea,
    old_until       timestamptz,
    scopes          text[] not null,
    created_at      timestamptz not null default now(),
    expires_at      timestamptz,
    revoked_at      timestamptz,
    last_used_at    timestamptz
);
create index api_keys_by_organisation on touchline.api_keys (organisation_id, created_at desc);

-- Answers to requests that carried an Idempotency-Key, for 24 hours. A row without an answer is a request at work.
create table touchline.idempotency (
    organisation_id uuid not null references touchline.organisations,
    key             text not null check (length(key) between 1 and 200),
    -- SHA-256 of method, path and body.
    request         bytea not null,
    status          integer,
    body            bytea,
    created_at      timestamptz not null default now(),
    primary key (organisation_id, key)
);
create index idempotency_by_time on touchline.idempotency (created_at);

-- Who changed what. Never changed, never deleted with what it speaks of.
create table touchline.audit (
    id              bigint generated always as identity primary key,
    organisation_id uuid not null,
    at              timestamptz not null default now(),
    -- `key:<prefix>`, `user:<subject>`, `cli` or `dispatcher`.
    actor           text not null,
    action          text not null,
    object          text not null,
    detail          jsonb not null default '{}',
    request_id      text
);
create index audit_by_organisation on touchline.audit (organisation_id, id desc);

-- ---- uploads ----

create table touchline.uploads (
    id              uuid primary key,
    organisation_id uuid not null references touchline.organisations,
    state           text not null default 'open' check (state in ('open', 'completing', 'completed', 'aborted', 'expired')),
    filename        text not null check (length(filename) between 1 and 500),
    content_type    text not null default 'application/octet-stream',
    size_bytes      bigint not null check (size_bytes > 0),
    -- Names the file on the client's side, so that an upload is found again after a restart.
    fingerprint     text,
    part_size_bytes bigint not null check (part_size_bytes > 0),
    -- Where the object comes to lie: store address as in `source` of a job, key within the store, the store's own upload id.
    source          text not null,
    object_key      text not null,
    multipart_id    text not null,
    -- Bytes that had arrived when somebody last asked; an upload under way already counts as coming work.
    received_bytes  bigint not null default 0,
    -- The job that completion starts, as it was asked for.
    job_request     jsonb,
    job_id          uuid,
    created_at      timestamptz not null default now(),
    progressed_at   timestamptz not null default now(),
    expires_at      timestamptz not null,
    finished_at     timestamptz
);
create index uploads_open on touchline.uploads (organisation_id, fingerprint) where state = 'open';
create index uploads_by_time on touchline.uploads (organisation_id, created_at desc);
create index uploads_due on touchline.uploads (expires_at) where state in ('open', 'completing');

-- ---- jobs ----

alter table touchline.jobs add column upload_id uuid;
alter table touchline.jobs add column ladder_name text not null default '';
-- Frames a second as `num/den`, once planned: what a player steps by.
alter table touchline.jobs add column frame_rate text;
create index jobs_search on touchline.jobs (organisation_id, lower(title) text_pattern_ops);

-- Readers of events go by (xid, id) and only below the oldest transaction that still runs: then a row that commits late
-- is never skipped, which a plain sequence cannot promise.
alter table touchline.events add column xid xid8 not null default pg_current_xact_id();
create index events_in_order on touchline.events (xid, id);
create index events_by_organisation on touchline.events (organisation_id, xid, id);
alter table touchline.events alter column job_id drop not null;

alter table touchline.usage add column stored_bytes bigint;
create index usage_by_month on touchline.usage (organisation_id, finished_at);

-- ---- clips ----

create table touchline.clips (
    id              uuid primary key,
    organisation_id uuid not null references touchline.organisations,
    job_id          uuid not null references touchline.jobs on delete cascade,
    title           text not null default '' check (length(title) <= 500),
    start_ms        bigint not null check (start_ms >= 0),
    end_ms          bigint not null,
    created_at      timestamptz not null default now(),
    -- A frame-exact file, made on request.
    download        text not null default 'none' check (download in ('none', 'queued', 'running', 'ready', 'failed')),
    download_key    text,
    download_error  text,
    download_asked_at timestamptz,
    check (end_ms > start_ms)
);
create index clips_by_job on touchline.clips (job_id, start_ms);
create index clips_downloads on touchline.clips (download_asked_at) where download in ('queued', 'running');

-- ---- webhooks ----

create table touchline.webhooks (
    id              uuid primary key,
    organisation_id uuid not null references touchline.organisations,
    url             text not null check (length(url) between 1 and 2000),
    description     text not null default '' check (length(description) <= 500),
    events          text[] not null,
    enabled         boolean not null default true,
    -- Signing secrets (Standard Webhooks, whsec_ without the prefix, base64). They must be readable: they sign.
    secret          text not null,
    old_secret      text,
    old_until       timestamptz,
    -- Since when every delivery failed.
    failing_since   timestamptz,
    created_at      timestamptz not null default now()
);
create index webhooks_by_organisation on touchline.webhooks (organisation_id, created_at desc);

create table touchline.webhook_deliveries (
    id              uuid primary key,
    webhook_id      uuid not null references touchline.webhooks on delete cascade,
    organisation_id uuid not null,
    event_id        bigint,
    type            text not null,
    payload         jsonb not null,
    state           text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
    tries           integer not null default 0,
    next_at         timestamptz not null default now(),
    -- Held by a dispatcher until then.
    claimed_until   timestamptz,
    last_status     integer,
    last_error      text,
    last_ms         integer,
    created_at      timestamptz not null default now(),
    finished_at     timestamptz,
    unique (webhook_id, event_id)
);
create index webhook_deliveries_due on touchline.webhook_deliveries (next_at) where state = 'pending';
create index webhook_deliveries_by_hook on touchline.webhook_deliveries (webhook_id, created_at desc);

-- How far readers of events that must see each once have come (the webhooks' fan-out).
create table touchline.event_readers (
    name text primary key,
    xid  xid8 not null,
    id   bigint not null
);

-- ---- row-level security ----

-- Requests of the API run as this role, with the caller's organisation in a setting of their transaction.
do $$
begin
    if not exists (select from pg_roles where rolname = 'touchline_api') then
        create role touchline_api nologin;
    end if;
    execute format('grant touchline_api to %I', current_user);
exception when insufficient_privilege or duplicate_object or unique_violation then
    raise notice 'role touchline_api was not created or granted: %', sqlerrm;
end $$;

create function touchline.current_organisation() returns uuid language sql stable parallel safe
    as $$ select nullif(current_setting('touchline.organisation', true), '')::uuid $$;

do $$
declare
    name text;
begin
    foreach name in array array['jobs', 'events', 'usage', 'api_keys', 'idempotency', 'audit', 'uploads', 'clips', 'webhooks',
        'webhook_deliveries'] loop
        execute format('alter table touchline.%I enable row level security', name);
        execute format('alter table touchline.%I force row level security', name);
        -- The fleet itself: whoever owns the tables.
        execute format('create policy fleet on touchline.%I to current_user using (true) with check (true)', name);
        execute format('create policy tenant on touchline.%I to touchline_api
            using (organisation_id = (select touchline.current_organisation()))
            with check (organisation_id = (select touchline.current_organisation()))', name);
    end loop;
    alter table touchline.organisations enable row level security;
    alter table touchline.organisations force row level security;
    create policy fleet on touchline.organisations to current_user using (true) with check (true);
    create policy tenant on touchline.organisations to touchline_api using (id = (select touchline.current_organisation()));
    -- What hangs from a job is seen when the job is.
    foreach name in array array['chunks', 'attempts', 'renditions', 'segments', 'publications'] loop
        execute format('alter table touchline.%I enable row level security', name);
        execute format('alter table touchline.%I force row level security', name);
        execute format('create policy fleet on touchline.%I to current_user using (true) with check (true)', name);
        execute format('create policy tenant on touchline.%I to touchline_api
            using (exists (select from touchline.jobs j where j.id = job_id))
            with check (exists (select from touchline.jobs j where j.id = job_id))', name);
    end loop;
    if exists (select from pg_roles where rolname = 'touchline_worker') then
        foreach name in array array['jobs', 'chunks', 'renditions', 'segments', 'attempts'] loop
            execute format('create policy worker on touchline.%I to touchline_worker using (true) with check (true)', name);
        end loop;
        grant update (frame_rate) on touchline.jobs to touchline_worker;
    end if;
end $$;

do $$
begin
    grant usage on schema touchline to touchline_api;
    grant execute on function touchline.current_organisation() to touchline_api;
    grant select on touchline.tiers, touchline.organisations, touchline.chunks, touchline.renditions, touchline.segments,
        touchline.publications, touchline.events, touchline.usage, touchline.regions to touchline_api;
    grant select, insert on touchline.jobs to touchline_api;
    grant update (state, title, focus_segment, failure_code, failure_message, finished_at, updated_at) on touchline.jobs
        to touchline_api;
    -- Cancelling and trying again change what hangs from the job.
    grant select on touchline.attempts to touchline_api;
    grant update (ended_at, outcome) on touchline.attempts to touchline_api;
    grant update (swept) on touchline.publications to touchline_api;
    grant select, insert, update on touchline.api_keys, touchline.uploads, touchline.idempotency to touchline_api;
    grant delete on touchline.idempotency to touchline_api;
    grant select, insert on touchline.audit to touchline_api;
    grant insert on touchline.events to touchline_api;
    grant insert, update on touchline.chunks to touchline_api;
    grant select, insert, update, delete on touchline.clips, touchline.webhooks, touchline.webhook_deliveries to touchline_api;
end $$;
