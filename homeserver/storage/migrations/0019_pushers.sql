-- Where users want to be notified, and the notifications that wait to be sent.

CREATE TABLE pushers (
    pusher_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    app_id text NOT NULL,
    pushkey text NOT NULL,
    -- http, email, webpush
    kind text NOT NULL,
    app_display_name text NOT NULL,
    device_display_name text NOT NULL,
    profile_tag text,
    lang text NOT NULL,
    -- As the client sent it: a JSON object.
    content bytea NOT NULL,
    -- When it was last set.
    set_ts bigint NOT NULL,
    -- It goes with the device that set it, or with the token of who has no device.
    device_id text,
    token_nid bigint REFERENCES access_tokens (token_nid) ON DELETE CASCADE,
    is_enabled boolean NOT NULL DEFAULT true,
    -- Web Push: false until the client has shown that it gets what is sent.
    is_activated boolean NOT NULL DEFAULT true,
    -- Events up to here are from before it was there, or on.
    since_pos bigint NOT NULL,
    ack_hash bytea,
    ack_expires_ts bigint,
    -- What the link in a mail shows to end the mails.
    unsubscribe_token text UNIQUE,
    -- The number of unread messages that was sent last.
    told_unread bigint NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    -- Nothing is sent before.
    next_ts bigint NOT NULL DEFAULT 0,
    -- Which node is sending, and until when the others leave it alone.
    claim_node text,
    claim_until_ts bigint NOT NULL DEFAULT 0,
    UNIQUE (user_id, app_id, pushkey),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX pushers_pushkey ON pushers (pushkey, app_id);
CREATE INDEX pushers_device ON pushers (user_id, device_id);
CREATE INDEX pushers_token ON pushers (token_nid) WHERE token_nid IS NOT NULL;

-- In order of their positions; deleted when they are sent.
CREATE TABLE push_queue (
    pusher_nid bigint NOT NULL REFERENCES pushers (pusher_nid) ON DELETE CASCADE,
    pos bigint NOT NULL,
    -- NULL: only the counts have changed.
    event_nid bigint,
    is_highlight boolean NOT NULL,
    -- Of the push rule's actions: a JSON object.
    tweaks bytea NOT NULL,
    added_ts bigint NOT NULL,
    PRIMARY KEY (pusher_nid, pos)
);
CREATE INDEX push_queue_added ON push_queue (added_ts);

-- Calls are few: which of them were missed is counted when a notification is sent.
CREATE INDEX events_calls ON events (room_nid, pos)
    WHERE type = 'm.call.invite' AND pos IS NOT NULL;
