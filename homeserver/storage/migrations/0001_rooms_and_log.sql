-- The log, rooms, events and state. docs/architecture.md, "Data model", explains every table.

-- One row: the position of the newest durable change. The row lock is held to the commit, so
-- positions become visible in commit order and without gaps. Lock order: room rows, then this.
CREATE TABLE log_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    pos bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO log_head (pos) VALUES (0);

-- Row numbers of events are handed out in blocks, so that a node knows them before it writes.
CREATE SEQUENCE event_nids;
CREATE SEQUENCE room_nids;
CREATE SEQUENCE state_nids;

CREATE TABLE rooms (
    room_nid bigint PRIMARY KEY,
    room_id text NOT NULL UNIQUE,
    room_version text NOT NULL,
    -- Compare-and-set: the row number of the last change that was built on this room's head.
    version bigint NOT NULL,
    depth bigint NOT NULL,
    extremities bigint[] NOT NULL,
    -- Snapshot of the current (resolved) state.
    state_nid bigint NOT NULL,
    -- Events of the main timeline that notify, or highlight, by the default push rules.
    notify_seq bigint NOT NULL DEFAULT 0,
    highlight_seq bigint NOT NULL DEFAULT 0,
    -- Joined with omitted members: the state is not complete until the resync ends.
    is_partial_state boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);

CREATE TABLE events (
    event_nid bigint PRIMARY KEY,
    event_id text NOT NULL UNIQUE,
    room_nid bigint NOT NULL,
    -- Place in the room's timeline: live events are (log position, 0); events backfilled into the
    -- gap before a live event share its pos and count sub downwards from -1. NULL: an outlier.
    pos bigint,
    sub integer NOT NULL DEFAULT 0,
    depth bigint NOT NULL,
    type text NOT NULL,
    sender text NOT NULL,
    state_key text,
    origin_server_ts bigint NOT NULL,
    -- 1 outlier, 2 rejected, 4 soft-failed, 8 state before it is partial
    flags smallint NOT NULL DEFAULT 0,
    -- Snapshot of the state before the event; NULL for outliers.
    state_nid bigint,
    -- The state event of the same key that this one replaced.
    replaces_nid bigint,
    redacted_by_nid bigint,
    -- The thread's root, and the running counts of its part of the timeline (main or thread).
    thread_nid bigint,
    notify_seq bigint NOT NULL DEFAULT 0,
    highlight_seq bigint NOT NULL DEFAULT 0,
    -- Which device sent it and by which transaction ID (unsigned.transaction_id; idempotence).
    device_id text,
    txn_id text,
    auth_nids bigint[] NOT NULL,
    -- The PDU in two parts, so that clients get `core` without decoding: protocol/client_event.py
    core bytea NOT NULL,
    rest bytea NOT NULL
);
CREATE INDEX events_timeline ON events (room_nid, pos, sub) WHERE pos IS NOT NULL;
CREATE INDEX events_log ON events (pos) WHERE sub = 0 AND pos IS NOT NULL;
CREATE INDEX events_transaction ON events (sender, device_id, txn_id) WHERE txn_id IS NOT NULL;
CREATE INDEX events_redacted ON events (redacted_by_nid) WHERE redacted_by_nid IS NOT NULL;
CREATE INDEX events_thread ON events (thread_nid, pos) WHERE thread_nid IS NOT NULL;

-- Prev events that are not stored: where backfill goes on.
CREATE TABLE backward_extremities (
    room_nid bigint NOT NULL,
    event_id text NOT NULL,
    -- The stored event that names it; its (pos, sub) says where the gap is.
    child_nid bigint NOT NULL,
    PRIMARY KEY (room_nid, event_id, child_nid)
);

CREATE TABLE state_keys (
    key_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type text NOT NULL,
    state_key text NOT NULL,
    UNIQUE (state_key, type)
);

-- A snapshot is its parent's map with a delta; event 0 removes a key. The parent of height n is
-- the ancestor of height n - lowbit(n), so a chain has at most log2(n) links.
CREATE TABLE state_snapshots (
    state_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL,
    parent_nid bigint,
    height bigint NOT NULL,
    key_nids bigint[] NOT NULL,
    event_nids bigint[] NOT NULL
);
CREATE INDEX state_snapshots_room ON state_snapshots (room_nid);

-- The current state.
CREATE TABLE room_state (
    room_nid bigint NOT NULL,
    key_nid bigint NOT NULL,
    event_nid bigint NOT NULL,
    PRIMARY KEY (room_nid, key_nid)
);

-- Every change of the current state with its position: the state after position p is, for each
-- key, the last change at or before p. event_nid NULL: resolution removed the key.
CREATE TABLE state_changes (
    room_nid bigint NOT NULL,
    key_nid bigint NOT NULL,
    pos bigint NOT NULL,
    event_nid bigint,
    PRIMARY KEY (room_nid, key_nid, pos)
);
CREATE INDEX state_changes_room ON state_changes (room_nid, pos);

CREATE TABLE memberships (
    user_id text NOT NULL,
    room_nid bigint NOT NULL,
    membership text NOT NULL,
    event_nid bigint NOT NULL,
    sender text NOT NULL,
    pos bigint NOT NULL,
    is_forgotten boolean NOT NULL DEFAULT false,
    -- Invites and knocks from rooms this server is not in: the stripped state, a JSON array.
    stripped_state bytea,
    PRIMARY KEY (user_id, room_nid)
);
CREATE INDEX memberships_room ON memberships (room_nid, membership, pos);
CREATE INDEX memberships_pos ON memberships (pos);

CREATE TABLE relations (
    event_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL,
    parent_id text NOT NULL,
    rel_type text NOT NULL,
    key text,
    sender text NOT NULL,
    type text NOT NULL
);
CREATE INDEX relations_parent ON relations (parent_id, rel_type, event_nid);

-- A thread: its newest message and how many there are; and, with everything else that belongs to
-- it (edits, reactions), its newest position and its running counts (see events.thread_nid).
CREATE TABLE threads (
    room_nid bigint NOT NULL,
    thread_nid bigint NOT NULL,
    latest_nid bigint NOT NULL,
    latest_pos bigint NOT NULL,
    replies bigint NOT NULL,
    newest_pos bigint NOT NULL,
    notify_seq bigint NOT NULL,
    highlight_seq bigint NOT NULL,
    PRIMARY KEY (room_nid, thread_nid)
);
CREATE INDEX threads_latest ON threads (room_nid, latest_pos);
CREATE INDEX threads_newest ON threads (room_nid, newest_pos);

-- Where one user's outcome differs from the default class: mentions, own rules.
CREATE TABLE user_notifications (
    user_id text NOT NULL,
    room_nid bigint NOT NULL,
    pos bigint NOT NULL,
    event_nid bigint NOT NULL,
    thread_nid bigint,
    -- Added to the counts of the default outcome: -1, 0 or 1.
    notify_delta smallint NOT NULL,
    highlight_delta smallint NOT NULL,
    -- The outcome itself: where the user has muted the room, nothing else counts.
    is_notification boolean NOT NULL,
    is_highlight boolean NOT NULL,
    actions bytea NOT NULL,
    PRIMARY KEY (user_id, room_nid, pos)
);
CREATE INDEX user_notifications_room ON user_notifications (room_nid, pos);

-- Notifying events that were redacted: unread = counter now - counter at the receipt - these.
CREATE TABLE count_corrections (
    room_nid bigint NOT NULL,
    event_pos bigint NOT NULL,
    pos bigint NOT NULL,
    thread_nid bigint,
    notify smallint NOT NULL,
    highlight smallint NOT NULL,
    PRIMARY KEY (room_nid, event_pos)
);

-- thread_id '' is the unthreaded receipt; 'main' and thread roots as in the specification.
CREATE TABLE receipts (
    room_nid bigint NOT NULL,
    receipt_type text NOT NULL,
    user_id text NOT NULL,
    thread_id text NOT NULL,
    event_id text NOT NULL,
    -- The event's place in the timeline; NULL when the event was not known here.
    event_pos bigint,
    event_sub integer NOT NULL DEFAULT 0,
    ts bigint NOT NULL,
    pos bigint NOT NULL,
    PRIMARY KEY (room_nid, receipt_type, user_id, thread_id)
);
CREATE INDEX receipts_pos ON receipts (pos);
CREATE INDEX receipts_user ON receipts (user_id, room_nid);

-- What a user has read of a part of a timeline ('' unthreaded, 'main', a thread's root ID), by
-- receipt or by sending, as counter values at that point. One row each, updated in place.
CREATE TABLE read_counters (
    user_id text NOT NULL,
    room_nid bigint NOT NULL,
    thread_id text NOT NULL,
    read_pos bigint NOT NULL,
    notify_seq bigint NOT NULL,
    highlight_seq bigint NOT NULL,
    PRIMARY KEY (user_id, room_nid, thread_id)
) WITH (fillfactor = 80);

-- PDUs accepted from other servers and not yet taken into their room.
CREATE TABLE inbound_pdus (
    inbound_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id text NOT NULL,
    event_id text NOT NULL,
    origin text NOT NULL,
    received_ts bigint NOT NULL,
    pdu bytea NOT NULL,
    UNIQUE (event_id, origin)
);
CREATE INDEX inbound_pdus_room ON inbound_pdus (room_id, inbound_nid);

-- A follower's position, and which node holds its lease.
CREATE TABLE followers (
    name text PRIMARY KEY,
    pos bigint NOT NULL,
    lease_node text,
    lease_until_ms bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
