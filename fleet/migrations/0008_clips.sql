-- ---- answers to requests with an Idempotency-Key ----

-- They are sealed from now on; what was kept open until now is forgotten, as it may hold secrets.
delete from touchline.idempotency where body is not null;

-- ---- downloads of clips ----

-- A download is made by a job of its own with one chunk, so that release, leases, rescue and capacity are those of all
-- work. It names its clip, and goes with it.
alter table touchline.jobs add column clip_id uuid references touchline.clips on delete cascade;
create unique index jobs_by_clip on touchline.jobs (clip_id) where clip_id is not null;

alter table touchline.chunks drop constraint chunks_kind_check;
alter table touchline.chunks add constraint chunks_kind_check check (kind in ('plan', 'video', 'audio', 'clip'));
alter table touchline.renditions drop constraint renditions_kind_check;
alter table touchline.renditions add constraint renditions_kind_check
    check (kind in ('video', 'audio', 'storyboard', 'poster', 'clip'));

-- People see matches; a download shows as the state of its clip.
create policy matches on touchline.jobs as restrictive for select to touchline_api using (clip_id is null);

do $$
begin
    if exists (select from pg_roles where rolname = 'touchline_worker') then
        -- Which part of which match a download shows.
        grant select (clip_id) on touchline.jobs to touchline_worker;
        grant select (id, job_id, start_ms, end_ms) on touchline.clips to touchline_worker;
        create policy worker on touchline.clips for select to touchline_worker using (true);
    end if;
end $$;

-- ---- retention ----

-- Events of no job (uploads) are swept by their age.
create index events_without_job on touchline.events (at) where job_id is null;
