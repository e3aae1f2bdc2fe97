-- What users keep here for their clients: globally (room 0) or about one room. What is deleted
-- stays as `{}`, so that clients that come back learn of it.
CREATE TABLE account_data (
    user_id text NOT NULL,
    room_nid bigint NOT NULL,
    type text NOT NULL,
    content bytea NOT NULL,
    is_deleted boolean NOT NULL DEFAULT false,
    pos bigint NOT NULL,
    PRIMARY KEY (user_id, room_nid, type)
);
CREATE INDEX account_data_pos ON account_data (pos);
CREATE INDEX account_data_user ON account_data (user_id, pos);

-- How users' push rules differ from the defaults, as JSON. No row: not at all, ever.
CREATE TABLE push_rules (
    user_id text PRIMARY KEY,
    rules bytea NOT NULL,
    pos bigint NOT NULL
);
CREATE INDEX push_rules_pos ON push_rules (pos);
