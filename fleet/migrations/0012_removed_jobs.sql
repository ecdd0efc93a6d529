-- Jobs whose rows are gone, until nothing is left of their objects: nothing else knows of those.
create table touchline.removed_jobs (
    id              uuid primary key,
    organisation_id uuid not null,
    removed_at      timestamptz not null default now()
);
create index removed_jobs_by_time on touchline.removed_jobs (removed_at);
alter table touchline.removed_jobs enable row level security;
alter table touchline.removed_jobs force row level security;
create policy fleet on touchline.removed_jobs to current_user using (true) with check (true);
