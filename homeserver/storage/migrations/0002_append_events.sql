-- One batch of events in one statement: streams/log_writer.py is the only caller.

CREATE TYPE room_write AS (
    room_nid bigint, expected bigint, version bigint, depth bigint, extremities bigint[],
    state_nid bigint, notify_seq bigint, highlight_seq bigint
);
CREATE TYPE new_room_write AS (room_nid bigint, room_id text, room_version text);
CREATE TYPE event_write AS (
    event_nid bigint, event_id text, room_nid bigint, depth bigint, type text, sender text,
    state_key text, origin_server_ts bigint, flags smallint, state_nid bigint,
    replaces_nid bigint, thread_nid bigint, notify_seq bigint, highlight_seq bigint,
    device_id text, txn_id text, auth_nids bigint[], core bytea, rest bytea
);
CREATE TYPE snapshot_write AS (
    state_nid bigint, room_nid bigint, parent_nid bigint, height bigint,
    key_nids bigint[], event_nids bigint[]
);
-- ord: the 1-based place, in the batch's event array, of the event at whose position this happens.
CREATE TYPE state_write AS (ord integer, room_nid bigint, key_nid bigint, event_nid bigint);
CREATE TYPE membership_write AS (
    ord integer, user_id text, room_nid bigint, membership text, event_nid bigint, sender text
);
CREATE TYPE relation_write AS (
    event_nid bigint, room_nid bigint, parent_id text, rel_type text, key text, sender text,
    type text
);
CREATE TYPE thread_write AS (
    ord integer, room_nid bigint, thread_nid bigint, event_nid bigint, is_reply boolean,
    notify_seq bigint, highlight_seq bigint
);
CREATE TYPE read_write AS (
    ord integer, user_id text, room_nid bigint, thread_id text, notify_seq bigint,
    highlight_seq bigint
);
CREATE TYPE user_notification_write AS (
    ord integer, user_id text, room_nid bigint, event_nid bigint, thread_nid bigint,
    notify_delta smallint, highlight_delta smallint, is_notification boolean,
    is_highlight boolean, actions bytea
);
CREATE TYPE redaction_write AS (
    ord integer, room_nid bigint, target_nid bigint, by_nid bigint, core bytea, rest bytea
);

-- Returns the position before the batch's first event, and the rooms that lost the
-- compare-and-set: nothing of theirs was written, and they take no position.
CREATE FUNCTION append_events(
    p_new_rooms new_room_write[], p_rooms room_write[], p_events event_write[],
    p_snapshots snapshot_write[], p_state state_write[], p_members membership_write[],
    p_relations relation_write[], p_threads thread_write[], p_reads read_write[],
    p_notifications user_notification_write[], p_redactions redaction_write[],
    OUT base_pos bigint, OUT lost bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    won bigint[];
    positions bigint[];
    total integer;
BEGIN
    IF cardinality(p_new_rooms) > 0 THEN
        INSERT INTO rooms (room_nid, room_id, room_version, version, depth, extremities, state_nid)
        SELECT n.room_nid, n.room_id, n.room_version, 0, 0, '{}', 0
        FROM unnest(p_new_rooms) n;
    END IF;
    -- Rooms are locked in the order of their numbers, so that two nodes never wait in a circle.
    IF cardinality(p_rooms) > 1 THEN
        PERFORM 1 FROM rooms r WHERE r.room_nid = ANY (SELECT w.room_nid FROM unnest(p_rooms) w)
        ORDER BY r.room_nid FOR UPDATE;
    END IF;
    WITH moved AS (
        UPDATE rooms r
        SET version = w.version, depth = w.depth, extremities = w.extremities,
            state_nid = w.state_nid, notify_seq = w.notify_seq, highlight_seq = w.highlight_seq
        FROM unnest(p_rooms) w
        WHERE r.room_nid = w.room_nid AND r.version = w.expected
        RETURNING r.room_nid
    )
    SELECT coalesce(array_agg(moved.room_nid), '{}') INTO won FROM moved;
    IF cardinality(won) = cardinality(p_rooms) THEN
        lost := '{}';
    ELSE
        SELECT array_agg(w.room_nid) INTO lost FROM unnest(p_rooms) w
        WHERE w.room_nid <> ALL (won);
    END IF;

    -- Events that clients never see (outliers, rejected, soft-failed: flags 1, 2, 4) and events of
    -- rooms that lost take no position.
    SELECT array_agg(CASE WHEN n.is_live THEN n.place END ORDER BY n.ord), max(n.place)
    INTO positions, total
    FROM (
        SELECT l.ord, l.is_live, count(*) FILTER (WHERE l.is_live) OVER (ORDER BY l.ord) AS place
        FROM (
            SELECT (u.flags & 7) = 0 AND u.room_nid <> ALL (lost) AS is_live,
                   row_number() OVER () AS ord
            FROM unnest(p_events) u
        ) l
    ) n;
    IF total > 0 THEN
        UPDATE log_head h SET pos = h.pos + total RETURNING h.pos - total INTO base_pos;
    ELSE
        SELECT h.pos INTO base_pos FROM log_head h;
    END IF;

    INSERT INTO events (
        event_nid, event_id, room_nid, pos, depth, type, sender, state_key, origin_server_ts,
        flags, state_nid, replaces_nid, thread_nid, notify_seq, highlight_seq, device_id, txn_id,
        auth_nids, core, rest
    )
    SELECT e.event_nid, e.event_id, e.room_nid, base_pos + positions[e.ord], e.depth, e.type,
           e.sender, e.state_key, e.origin_server_ts, e.flags, e.state_nid, e.replaces_nid,
           e.thread_nid, e.notify_seq, e.highlight_seq, e.device_id, e.txn_id, e.auth_nids,
           e.core, e.rest
    FROM (SELECT u.*, row_number() OVER () AS ord FROM unnest(p_events) u) e
    WHERE e.room_nid <> ALL (lost)
    -- An outlier that is now taken into the timeline keeps its row number.
    ON CONFLICT (event_nid) DO UPDATE
    SET pos = excluded.pos, flags = excluded.flags, state_nid = excluded.state_nid,
        replaces_nid = excluded.replaces_nid, thread_nid = excluded.thread_nid,
        notify_seq = excluded.notify_seq, highlight_seq = excluded.highlight_seq;

    IF cardinality(p_snapshots) > 0 THEN
        INSERT INTO state_snapshots (state_nid, room_nid, parent_nid, height, key_nids, event_nids)
        SELECT s.state_nid, s.room_nid, s.parent_nid, s.height, s.key_nids, s.event_nids
        FROM unnest(p_snapshots) s WHERE s.room_nid <> ALL (lost);
    END IF;
    IF cardinality(p_state) > 0 THEN
        INSERT INTO state_changes (room_nid, key_nid, pos, event_nid)
        SELECT s.room_nid, s.key_nid, base_pos + positions[s.ord], s.event_nid
        FROM unnest(p_state) s WHERE s.room_nid <> ALL (lost)
        ON CONFLICT (room_nid, key_nid, pos) DO UPDATE SET event_nid = excluded.event_nid;
        -- A batch may change one key twice: only the last change is the current state.
        WITH last_change AS (
            SELECT DISTINCT ON (s.room_nid, s.key_nid) s.room_nid, s.key_nid, s.event_nid
            FROM unnest(p_state) s WHERE s.room_nid <> ALL (lost)
            ORDER BY s.room_nid, s.key_nid, s.ord DESC
        ), removed AS (
            DELETE FROM room_state r USING last_change c
            WHERE r.room_nid = c.room_nid AND r.key_nid = c.key_nid AND c.event_nid IS NULL
        )
        INSERT INTO room_state (room_nid, key_nid, event_nid)
        SELECT c.room_nid, c.key_nid, c.event_nid FROM last_change c WHERE c.event_nid IS NOT NULL
        ON CONFLICT (room_nid, key_nid) DO UPDATE SET event_nid = excluded.event_nid;
    END IF;
    IF cardinality(p_members) > 0 THEN
        INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos)
        SELECT DISTINCT ON (m.user_id, m.room_nid) m.user_id, m.room_nid, m.membership, m.event_nid,
               m.sender, base_pos + positions[m.ord]
        FROM unnest(p_members) m WHERE m.room_nid <> ALL (lost)
        ORDER BY m.user_id, m.room_nid, m.ord DESC
        ON CONFLICT (user_id, room_nid) DO UPDATE
        SET membership = excluded.membership, event_nid = excluded.event_nid,
            sender = excluded.sender, pos = excluded.pos, is_forgotten = false,
            stripped_state = NULL;
    END IF;
    IF cardinality(p_relations) > 0 THEN
        INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, key, sender, type)
        SELECT r.event_nid, r.room_nid, r.parent_id, r.rel_type, r.key, r.sender, r.type
        FROM unnest(p_relations) r WHERE r.room_nid <> ALL (lost)
        ON CONFLICT (event_nid) DO NOTHING;
    END IF;
    IF cardinality(p_threads) > 0 THEN
        INSERT INTO threads (room_nid, thread_nid, latest_nid, latest_pos, replies, newest_pos,
                             notify_seq, highlight_seq)
        SELECT t.room_nid, t.thread_nid,
               coalesce((array_agg(t.event_nid ORDER BY t.ord DESC) FILTER (WHERE t.is_reply))[1],
                        t.thread_nid),
               coalesce(max(base_pos + positions[t.ord]) FILTER (WHERE t.is_reply), 0),
               count(*) FILTER (WHERE t.is_reply), max(base_pos + positions[t.ord]),
               max(t.notify_seq), max(t.highlight_seq)
        FROM unnest(p_threads) t
        WHERE t.room_nid <> ALL (lost) AND positions[t.ord] IS NOT NULL
        GROUP BY t.room_nid, t.thread_nid
        ON CONFLICT (room_nid, thread_nid) DO UPDATE
        SET latest_nid = CASE WHEN excluded.replies > 0 THEN excluded.latest_nid
                              ELSE threads.latest_nid END,
            latest_pos = greatest(threads.latest_pos, excluded.latest_pos),
            replies = threads.replies + excluded.replies, newest_pos = excluded.newest_pos,
            notify_seq = excluded.notify_seq, highlight_seq = excluded.highlight_seq;
    END IF;
    IF cardinality(p_reads) > 0 THEN
        INSERT INTO read_counters (user_id, room_nid, thread_id, read_pos, notify_seq,
                                   highlight_seq)
        SELECT DISTINCT ON (r.user_id, r.room_nid, r.thread_id) r.user_id, r.room_nid, r.thread_id,
               base_pos + positions[r.ord], r.notify_seq, r.highlight_seq
        FROM unnest(p_reads) r WHERE r.room_nid <> ALL (lost)
        ORDER BY r.user_id, r.room_nid, r.thread_id, r.ord DESC
        ON CONFLICT (user_id, room_nid, thread_id) DO UPDATE
        SET read_pos = excluded.read_pos, notify_seq = excluded.notify_seq,
            highlight_seq = excluded.highlight_seq;
    END IF;
    IF cardinality(p_notifications) > 0 THEN
        INSERT INTO user_notifications (user_id, room_nid, pos, event_nid, thread_nid,
                                        notify_delta, highlight_delta, is_notification,
                                        is_highlight, actions)
        SELECT n.user_id, n.room_nid, base_pos + positions[n.ord], n.event_nid, n.thread_nid,
               n.notify_delta, n.highlight_delta, n.is_notification, n.is_highlight, n.actions
        FROM unnest(p_notifications) n WHERE n.room_nid <> ALL (lost);
    END IF;
    IF cardinality(p_redactions) > 0 THEN
        WITH redacted AS (
            UPDATE events e
            SET core = d.core, rest = d.rest, redacted_by_nid = d.by_nid
            FROM (
                -- Of two redactions of one event in a batch the first takes effect.
                SELECT DISTINCT ON (x.target_nid) x.* FROM unnest(p_redactions) x
                ORDER BY x.target_nid, x.ord
            ) d
            WHERE e.event_nid = d.target_nid AND e.redacted_by_nid IS NULL
              AND d.room_nid <> ALL (lost)
            RETURNING e.room_nid, e.pos, e.thread_nid, e.event_nid, d.ord
        ), unrelated AS (
            DELETE FROM relations r USING redacted t WHERE r.event_nid = t.event_nid
            RETURNING t.room_nid, t.thread_nid, r.rel_type
        ), unthreaded AS (
            UPDATE threads h SET replies = h.replies - u.replies
            FROM (
                SELECT room_nid, thread_nid, count(*) AS replies FROM unrelated
                WHERE thread_nid IS NOT NULL AND rel_type = 'm.thread' GROUP BY 1, 2
            ) u
            WHERE h.room_nid = u.room_nid AND h.thread_nid = u.thread_nid
        ), unnotified AS (
            DELETE FROM user_notifications n USING redacted t
            WHERE n.room_nid = t.room_nid AND n.pos = t.pos
        )
        INSERT INTO count_corrections (room_nid, event_pos, pos, thread_nid, notify, highlight)
        SELECT t.room_nid, t.pos, base_pos + positions[t.ord], t.thread_nid, c.notify, c.highlight
        FROM redacted t
        JOIN LATERAL (
            -- What the event added to its part of the timeline: its counters less those before it.
            SELECT (e.notify_seq - coalesce(b.notify_seq, m.notify_seq, 0))::smallint AS notify,
                   (e.highlight_seq - coalesce(b.highlight_seq, m.highlight_seq, 0))::smallint
                       AS highlight
            FROM events e
            LEFT JOIN LATERAL (
                SELECT p.notify_seq, p.highlight_seq FROM events p
                WHERE p.thread_nid = e.thread_nid AND p.pos < e.pos AND p.sub = 0
                ORDER BY p.pos DESC LIMIT 1
            ) b ON true
            LEFT JOIN LATERAL (
                SELECT p.notify_seq, p.highlight_seq FROM events p
                WHERE e.thread_nid IS NULL AND p.thread_nid IS NULL AND p.room_nid = e.room_nid
                  AND p.pos < e.pos AND p.pos IS NOT NULL AND p.sub = 0
                ORDER BY p.pos DESC LIMIT 1
            ) m ON true
            WHERE e.event_nid = t.event_nid
        ) c ON c.notify > 0 OR c.highlight > 0
        WHERE t.pos IS NOT NULL
        ON CONFLICT (room_nid, event_pos) DO NOTHING;
    END IF;
END;
$$;
