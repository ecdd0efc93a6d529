-- Machines: which there were and for how long, what could not be started, and what was decided.

-- Every instance that was ever seen: what is charged against quotas while it is there, and what is paid for.
create table touchline.instances (
    -- The provider's name of it.
    id           text primary key,
    region       text not null,
    pool         text not null,
    -- Millionths of a US dollar an hour, and chunks at once, as the pool had them when it was first seen.
    price_micros bigint not null,
    slots        integer not null,
    seen_at      timestamptz not null default now(),
    -- When its first worker came.
    ready_at     timestamptz,
    -- When it was asked to take nothing new, and why: idle, drain, interruption, rebalance, no_worker.
    draining_at  timestamptz,
    reason       text check (reason in ('idle', 'drain', 'interruption', 'rebalance', 'no_worker')),
    -- When the provider announced that it takes it back.
    noticed_at   timestamptz,
    -- When it was no longer there.
    ended_at     timestamptz,
    constraint reason_iff_draining check ((draining_at is null) = (reason is null))
);
create index instances_there on touchline.instances (pool) where ended_at is null;
create index instances_ended on touchline.instances (ended_at) where ended_at is not null;

-- The instance that a worker runs on; empty on a machine that nobody counts.
alter table touchline.workers add column instance text not null default '';
create index workers_on_instances on touchline.workers (instance) where state <> 'gone' and instance <> '';

create table touchline.launch_failures (
    pool    text not null,
    -- The provider's name of the try: it is told of many times.
    try     text not null,
    kind    text not null,
    message text not null,
    at      timestamptz not null,
    noted_at timestamptz not null default now(),
    primary key (pool, try)
);
create index launch_failures_by_time on touchline.launch_failures (at);

-- What was decided, with the reasons. Decisions to do nothing that follow each other are one row.
create table touchline.decisions (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default now(),
    last_at timestamptz not null default now(),
    policy  text not null,
    actions jsonb not null,
    -- Sentences for people, and the same as data.
    reasons jsonb not null
);
create index decisions_by_time on touchline.decisions (last_at);

-- Loops that must be alone: who does one, and until when. A row rather than a lock of the session, which a transaction
-- pooler would lose.
create table touchline.turns (
    name   text primary key,
    holder uuid not null,
    until  timestamptz not null
);

do $$
begin
    if exists (select from pg_roles where rolname = 'touchline_worker') then
        grant select (id, draining_at) on touchline.instances to touchline_worker;
    end if;
end $$;
