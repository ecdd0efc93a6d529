-- Money: what each job owes to each machine, and what an organisation may spend in a month.

-- Who encoded is kept with the attempt: rows of workers are deleted a day after they are gone.
alter table touchline.attempts
    add column pool text not null default '',
    add column instance text not null default '';
update touchline.attempts a set pool = w.pool, instance = w.instance from touchline.workers w where w.id = a.worker_id;
create index attempts_on_instances on touchline.attempts (instance) where instance <> '';
create index attempts_measured on touchline.attempts (pool, ended_at desc) where outcome = 'done' and pool <> '' and made > 0;

alter table touchline.jobs
    -- Size of the source, once a worker has looked into it.
    add column source_bytes bigint,
    -- When the budget of its organisation admitted it; without it, nothing of an organisation with a cap is released.
    add column admitted_at timestamptz;

alter table touchline.instances
    -- When its bill was split among the jobs that it served.
    add column settled_at timestamptz;
create index instances_unsettled on touchline.instances (seen_at) where settled_at is null;

-- The bills of instances, split: a row for each job that one served, or one row without a job when it served none. The
-- amounts of an instance's rows add up to its bill. They outlive jobs.
create table touchline.charges (
    instance        text not null references touchline.instances,
    job_id          uuid,
    organisation_id uuid,
    region          text not null,
    pool            text not null,
    -- The end of the instance; its month is that of the charge.
    at              timestamptz not null,
    -- Millionths of a US dollar an hour.
    price_micros    bigint not null,
    -- Milliseconds of the instance, and what they cost in millionths of a US dollar.
    work_ms         bigint not null,
    boot_ms         bigint not null,
    idle_ms         bigint not null,
    waste_ms        bigint not null,
    work_micros     bigint not null,
    boot_micros     bigint not null,
    idle_micros     bigint not null,
    waste_micros    bigint not null,
    -- Moving the source to where it was encoded; beside the bill of the instance.
    transfer_micros bigint not null default 0,
    constraint organisation_iff_job check ((job_id is null) = (organisation_id is null))
);
create unique index charges_once on touchline.charges (instance, coalesce(job_id, '00000000-0000-0000-0000-000000000000'));
create index charges_by_job on touchline.charges (job_id) where job_id is not null;
create index charges_by_month on touchline.charges (organisation_id, at) where organisation_id is not null;
create index charges_by_time on touchline.charges (at);

alter table touchline.organisations
    -- What it may spend in a calendar month (UTC), in millionths of a US dollar; null: no cap.
    add column cap_micros bigint check (cap_micros >= 0),
    -- What the cap stops, and since when; it counts for the month of that time alone.
    add column capped text check (capped in ('new_jobs', 'all')),
    add column capped_at timestamptz,
    add constraint capped_iff_since check ((capped is null) = (capped_at is null));

-- Whether a cap keeps the waiting chunks of a job from being released. Released and running ones go on.
create function touchline.is_held(cap_micros bigint, capped text, capped_at timestamptz, admitted_at timestamptz)
    returns boolean language sql stable parallel safe
    as $$ select cap_micros is not null and (admitted_at is null or coalesce(capped = 'all'
        and date_trunc('month', capped_at at time zone 'utc') = date_trunc('month', now() at time zone 'utc'), false)) $$;

alter table touchline.charges enable row level security;
alter table touchline.charges force row level security;
create policy fleet on touchline.charges to current_user using (true) with check (true);
create policy tenant on touchline.charges to touchline_api
    using (organisation_id = (select touchline.current_organisation()))
    with check (organisation_id = (select touchline.current_organisation()));
grant select on touchline.charges to touchline_api;

do $$
begin
    if exists (select from pg_roles where rolname = 'touchline_worker') then
        grant update (source_bytes) on touchline.jobs to touchline_worker;
    end if;
end $$;
