-- What administrators hear of and say, and how an account ends.

-- Tokens by which third parties find out who a user is; good for nothing else.
CREATE TABLE openid_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    expires_ts bigint NOT NULL
);
CREATE INDEX openid_tokens_user ON openid_tokens (user_id);
CREATE INDEX openid_tokens_expiry ON openid_tokens (expires_ts);

-- What users report to the administrators; which columns are set says what was reported.
CREATE TABLE reports (
    report_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reported_ts bigint NOT NULL,
    reporter text NOT NULL,
    room_id text,
    event_id text,
    -- The user who was reported, or who sent the event.
    user_id text,
    reason text NOT NULL DEFAULT '',
    closed_ts bigint
);
CREATE INDEX reports_open ON reports (report_nid) WHERE closed_ts IS NULL;

-- The one room in which this server talks to a user.
CREATE TABLE server_notice_rooms (
    user_id text PRIMARY KEY REFERENCES users (user_id) ON DELETE CASCADE,
    room_id text NOT NULL
);
CREATE INDEX server_notice_rooms_room ON server_notice_rooms (room_id);

-- Notices on their way. A node claims some for a while, sends them and deletes them; what a node
-- that died had claimed, another one sends.
CREATE TABLE due_server_notices (
    notice_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    -- Event content as JSON.
    content bytea NOT NULL,
    claimed_until_ts bigint NOT NULL DEFAULT 0
);
CREATE INDEX due_server_notices_claim ON due_server_notices (claimed_until_ts, notice_nid);
CREATE INDEX due_server_notices_user ON due_server_notices (user_id, notice_nid);

-- Up to where others may still read what erased users have said. Its own table, so that a node
-- can keep all of it in memory.
CREATE TABLE erased_users (
    user_id text PRIMARY KEY,
    pos bigint NOT NULL
);
CREATE INDEX erased_users_pos ON erased_users (pos);
