-- What encodes: a GPU, or a machine's processors. Workers send a known film through it; when that comes out wrong it is
-- quarantined, and what it made since it last came out right is made again.
create table touchline.devices (
    name           text primary key,
    -- When the known film last came out right.
    checked_at     timestamptz,
    quarantined_at timestamptz,
    reason         text not null default '',
    -- When what it made since `checked_at` was withdrawn.
    withdrawn_at   timestamptz
);
create index devices_suspect on touchline.devices (quarantined_at) where quarantined_at is not null and withdrawn_at is null;

alter table touchline.workers add column device text not null default '';
create index workers_by_device on touchline.workers (device);
create index attempts_by_worker on touchline.attempts (worker_id);

do $$
begin
    if exists (select from pg_roles where rolname = 'touchline_worker') then
        -- A worker tells of its device; what follows from that is the dispatcher's to do, and undone by people alone.
        grant select on touchline.devices to touchline_worker;
        grant insert (name, checked_at, quarantined_at, reason) on touchline.devices to touchline_worker;
        grant update (checked_at, quarantined_at, reason) on touchline.devices to touchline_worker;
    end if;
end $$;
