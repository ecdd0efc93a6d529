-- Chunks that are far slower than their siblings: what was done about them.
alter table touchline.chunks
    -- The chunk whose rest this one is.
    add column split_from integer,
    -- How often it was split, its forebears' splits included.
    add column splits integer not null default 0,
    -- Taken back from a worker that was far too slow with its last segment: once at most.
    add column taken_back boolean not null default false,
    -- Who was too slow with it, and gets it again only when nobody else takes it.
    add column avoid_worker uuid;
