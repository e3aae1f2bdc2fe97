-- Rare changes that caches must follow: a token revoked, a device deleted, a room forgotten.
CREATE TABLE user_changes (
    pos bigint PRIMARY KEY,
    user_id text NOT NULL,
    kind text NOT NULL,
    room_nid bigint,
    device_id text
);
