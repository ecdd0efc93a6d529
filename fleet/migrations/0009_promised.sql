-- What growing playlists may list, noted before they are written: a publisher may die between the two.
alter table touchline.publications add column promised bigint not null default 0;
