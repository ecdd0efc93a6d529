-- Matches that their organisation deleted: it does not see them from then on, and their objects go at once. Their rows stay
-- for as long as those of failed jobs, since the bills of machines are split by them; those of the jobs that made files of
-- their clips, too. `removed_jobs` names the matches until nothing is left of their objects.
alter table touchline.jobs
    add column removed_at timestamptz,
    -- Also where a dispatcher of the version before tries failed jobs again.
    add constraint removed_is_final check (removed_at is null or state in ('succeeded', 'failed', 'cancelled'));
-- Whether a file that was uploaded is needed.
create index jobs_by_upload on touchline.jobs (upload_id) where upload_id is not null;

drop policy matches on touchline.jobs;
create policy matches on touchline.jobs as restrictive for select to touchline_api
    using (clip_id is null and removed_at is null);
