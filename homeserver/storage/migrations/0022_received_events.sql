-- Receiving events from other servers.

-- A PDU that could not be judged, because what it needs could not be had from its origin, is tried
-- again at `not_before` (server clock, ms).
ALTER TABLE inbound_pdus
    ADD COLUMN attempts smallint NOT NULL DEFAULT 0, ADD COLUMN not_before bigint NOT NULL DEFAULT 0;

-- Which node takes a room's staged PDUs in. Keeps nodes from doing the same work twice, no more.
CREATE TABLE inbound_rooms (
    room_id text PRIMARY KEY,
    node_id text NOT NULL,
    until_ms bigint NOT NULL
);

-- Accepted redactions of events that are not stored yet. They are applied when the event comes.
CREATE TABLE waiting_redactions (
    target_id text NOT NULL,
    redaction_nid bigint NOT NULL,
    PRIMARY KEY (target_id, redaction_nid)
);

-- Does a stored event name this one as its predecessor?
CREATE INDEX backward_extremities_child ON backward_extremities (child_nid);

-- Joins by which a room came here without most of its members: rooms.is_partial_state.
CREATE TABLE partial_joins (
    room_nid bigint PRIMARY KEY,
    join_nid bigint NOT NULL,
    -- The snapshot that the rest of the members is put into.
    state_nid bigint NOT NULL,
    -- As the server that let us in says; without it we do not know whom to tell.
    servers_in_room text[] NOT NULL
);

-- Which visibility has the history that was filled in? Few events, of all rooms.
CREATE INDEX events_filled_in_visibility ON events (room_nid)
    WHERE sub < 0 AND type IN ('m.room.history_visibility', 'm.room.create');
