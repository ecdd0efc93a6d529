-- What delivering webhooks needs beside their tables.

-- Why the fleet turned a webhook off: its receiver said 410, or did nothing but fail for days.
alter table touchline.webhooks
    add column disabled_at timestamptz,
    add column disabled_reason text check (disabled_reason in ('gone', 'failing'));

-- The oldest deliveries of each webhook, and the log that is kept no longer.
create index webhook_deliveries_waiting on touchline.webhook_deliveries (webhook_id, next_at, id) where state = 'pending';
create index webhook_deliveries_ended on touchline.webhook_deliveries (finished_at) where finished_at is not null;

-- Webhooks are told of what happens from now on.
insert into touchline.event_readers (name, xid, id) values ('webhooks', pg_snapshot_xmin(pg_current_snapshot()), 0)
on conflict (name) do nothing;
