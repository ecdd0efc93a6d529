-- Uploads: what makes every step repeatable, and the notices of buckets.

alter table touchline.uploads
    -- Every part comes with a SHA-256.
    add column checksums boolean not null default false,
    -- Why the job that was asked for was not started, as a problem of the API. The upload is complete all the same.
    add column job_problem jsonb,
    -- The store was told of the end of an aborted or expired upload.
    add column swept boolean not null default false;

-- One upload at a time for a file: whoever asks twice is given the same.
drop index touchline.uploads_open;
create unique index uploads_open on touchline.uploads (organisation_id, fingerprint, size_bytes)
    where state in ('open', 'completing') and fingerprint is not null;
create index uploads_unswept on touchline.uploads (finished_at) where state in ('aborted', 'expired') and not swept;

-- Objects of which a bucket told and of which a job was made. Notices come at least once.
create table touchline.inbox (
    organisation_id uuid not null references touchline.organisations,
    bucket          text not null,
    key             text not null,
    -- The bucket's own word for this write of the key.
    version         text not null,
    arrived_at      timestamptz not null default now(),
    primary key (organisation_id, bucket, key, version)
);
create index inbox_by_time on touchline.inbox (arrived_at);
alter table touchline.inbox enable row level security;
alter table touchline.inbox force row level security;
create policy fleet on touchline.inbox to current_user using (true) with check (true);
create policy tenant on touchline.inbox to touchline_api
    using (organisation_id = (select touchline.current_organisation()))
    with check (organisation_id = (select touchline.current_organisation()));
grant insert on touchline.inbox to touchline_api;
