CREATE TABLE room_aliases (
    alias text PRIMARY KEY,
    room_id text NOT NULL,
    creator text NOT NULL,
    created_ts bigint NOT NULL
);
CREATE INDEX room_aliases_room ON room_aliases (room_id);

-- The published room directory.
CREATE TABLE published_rooms (
    room_id text PRIMARY KEY,
    published_by text NOT NULL,
    published_ts bigint NOT NULL
);
