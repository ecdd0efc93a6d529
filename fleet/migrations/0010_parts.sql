-- ---- parts that are watched before what precedes them ----

-- How far the growing playlists of a later part list it. Whoever watches has seen that, so none of it is withdrawn.
create table touchline.parts (
    job_id      uuid not null references touchline.jobs on delete cascade,
    -- The segment with which it begins.
    first       bigint not null check (first >= 0),
    -- The segment after the last that is listed.
    listed      bigint not null,
    appended_at timestamptz not null default now(),
    primary key (job_id, first),
    check (listed > first)
);
alter table touchline.parts enable row level security;
alter table touchline.parts force row level security;
create policy fleet on touchline.parts to current_user using (true) with check (true);

-- ---- the height of a clip's file ----

-- Height of the rendition that the file is made of; null for the tallest.
alter table touchline.clips add column download_height integer check (download_height > 0);

do $$
begin
    if exists (select from pg_roles where rolname = 'touchline_worker') then
        grant select (download_height) on touchline.clips to touchline_worker;
    end if;
end $$;
