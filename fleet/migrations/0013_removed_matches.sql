-- Matches that their organisation deleted: it does not see them from then on, and their objects go at once. Their rows stay
-- for as long as those of failed jobs, since the bills of machines are split by them. `removed_jobs` names them too, until
-- nothing is left of their objects.
alter table touchline.jobs add column removed_at timestamptz;
create index jobs_removed on touchline.jobs (removed_at) where removed_at is not null;

drop policy matches on touchline.jobs;
create policy matches on touchline.jobs as restrictive for select to touchline_api
    using (clip_id is null and removed_at is null);
