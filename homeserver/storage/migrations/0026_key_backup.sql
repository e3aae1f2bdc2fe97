-- Server-side key backups: room keys, encrypted by the user's clients.

CREATE TABLE key_backup_versions (
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    -- 1, 2, 3 …: the number of a deleted backup is not given again.
    version bigint NOT NULL,
    algorithm text NOT NULL,
    -- As JSON.
    auth_data bytea NOT NULL,
    -- Grows with every change of the keys.
    etag bigint NOT NULL DEFAULT 0,
    key_count bigint NOT NULL DEFAULT 0,
    is_deleted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, version)
);

CREATE TABLE backed_up_keys (
    user_id text NOT NULL,
    version bigint NOT NULL,
    room_id text NOT NULL,
    session_id text NOT NULL,
    first_message_index bigint NOT NULL,
    forwarded_count bigint NOT NULL,
    is_verified boolean NOT NULL,
    -- As JSON.
    session_data bytea NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id),
    FOREIGN KEY (user_id, version) REFERENCES key_backup_versions (user_id, version)
        ON DELETE CASCADE
);
