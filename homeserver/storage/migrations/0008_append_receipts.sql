-- One batch of receipts in one statement: streams/log_writer.py is the only caller.

-- thread_id is '' for an unthreaded receipt, and thread_nid NULL when no thread is read by itself.
-- notify_seq and highlight_seq are the running counts of the part that is read, at the event;
-- NULL: look them up. counts: of a local user, whose unread counts depend on it.
CREATE TYPE receipt_write AS (
    room_nid bigint, receipt_type text, user_id text, thread_id text, event_id text,
    event_pos bigint, event_sub integer, thread_nid bigint, ts bigint, counts boolean,
    notify_seq bigint, highlight_seq bigint
);

-- A receipt never goes back in the timeline: of those that do not go forward nothing is written.
-- Returns the positions (base_pos, upto] that were taken, and for each receipt that was written
-- its 1-based place in the batch, its position, and the running counts of what it reads.
CREATE FUNCTION append_receipts(
    p_receipts receipt_write[],
    OUT base_pos bigint, OUT upto bigint, OUT ords integer[], OUT positions bigint[],
    OUT notify_seqs bigint[], OUT highlight_seqs bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    moving bigint[];
BEGIN
    -- The furthest of several receipts of one place. An event that is not known yet is thought to
    -- be newer than all that are.
    SELECT array_agg(n.ord ORDER BY n.ord) INTO moving
    FROM (
        SELECT DISTINCT ON (w.room_nid, w.receipt_type, w.user_id, w.thread_id)
               w.room_nid, w.receipt_type, w.user_id, w.thread_id, w.event_pos, w.event_sub, w.ord
        FROM unnest(p_receipts) WITH ORDINALITY AS w (
            room_nid, receipt_type, user_id, thread_id, event_id, event_pos, event_sub, thread_nid,
            ts, counts, notify_seq, highlight_seq, ord
        )
        ORDER BY w.room_nid, w.receipt_type, w.user_id, w.thread_id, w.event_pos DESC NULLS FIRST,
                 w.event_sub DESC, w.ord DESC
    ) n
    LEFT JOIN receipts r ON r.room_nid = n.room_nid AND r.receipt_type = n.receipt_type
                        AND r.user_id = n.user_id AND r.thread_id = n.thread_id
    WHERE r.room_nid IS NULL OR r.event_pos IS NULL OR n.event_pos IS NULL
       OR (r.event_pos, r.event_sub) < (n.event_pos, n.event_sub);
    ords := '{}';
    positions := '{}';
    IF moving IS NULL THEN
        SELECT h.pos, h.pos INTO base_pos, upto FROM log_head h;
        RETURN;
    END IF;

    UPDATE log_head h SET pos = h.pos + cardinality(moving) RETURNING h.pos INTO upto;
    base_pos := upto - cardinality(moving);

    -- Another node may have written the same receipt before the log was ours: then a position has
    -- no entry.
    WITH placed AS (
        SELECT w.*, base_pos + array_position(moving, w.ord) AS pos,
               -- What is backfilled stands before the live event of its position.
               w.event_pos - (w.event_sub < 0)::integer AS read_pos
        FROM unnest(p_receipts) WITH ORDINALITY AS w (
            room_nid, receipt_type, user_id, thread_id, event_id, event_pos, event_sub, thread_nid,
            ts, counts, notify_seq, highlight_seq, ord
        )
        WHERE w.ord = ANY (moving)
    ), written AS (
        INSERT INTO receipts AS r (room_nid, receipt_type, user_id, thread_id, event_id, event_pos,
                                   event_sub, ts, pos)
        SELECT p.room_nid, p.receipt_type, p.user_id, p.thread_id, p.event_id, p.event_pos,
               p.event_sub, p.ts, p.pos
        FROM placed p
        ON CONFLICT (room_nid, receipt_type, user_id, thread_id) DO UPDATE
        SET event_id = excluded.event_id, event_pos = excluded.event_pos,
            event_sub = excluded.event_sub, ts = excluded.ts, pos = excluded.pos
        WHERE r.event_pos IS NULL OR excluded.event_pos IS NULL
           OR (r.event_pos, r.event_sub) < (excluded.event_pos, excluded.event_sub)
        RETURNING r.pos
    ), counted AS (
        SELECT p.ord, p.pos, p.user_id, p.room_nid, p.thread_id, p.read_pos,
               p.counts AND p.event_pos IS NOT NULL AS counts,
               coalesce(p.notify_seq, t.notify_seq, m.notify_seq, 0) AS notify_seq,
               coalesce(p.highlight_seq, t.highlight_seq, m.highlight_seq, 0) AS highlight_seq
        FROM written w
        JOIN placed p ON p.pos = w.pos
        LEFT JOIN LATERAL (
            SELECT e.notify_seq, e.highlight_seq FROM events e
            WHERE p.counts AND p.notify_seq IS NULL AND e.thread_nid = p.thread_nid
              AND e.pos <= p.read_pos AND e.sub = 0
            ORDER BY e.pos DESC LIMIT 1
        ) t ON true
        LEFT JOIN LATERAL (
            SELECT e.notify_seq, e.highlight_seq FROM events e
            WHERE p.counts AND p.notify_seq IS NULL AND p.thread_nid IS NULL
              AND e.room_nid = p.room_nid AND e.thread_nid IS NULL AND e.pos <= p.read_pos
              AND e.pos IS NOT NULL AND e.sub = 0
            ORDER BY e.pos DESC LIMIT 1
        ) m ON true
    ), counters AS (
        -- Of the public and the private receipt, "the receipt which is more recent/ahead" counts.
        INSERT INTO read_counters AS r (user_id, room_nid, thread_id, read_pos, notify_seq,
                                        highlight_seq)
        SELECT DISTINCT ON (c.user_id, c.room_nid, c.thread_id) c.user_id, c.room_nid, c.thread_id,
               c.read_pos, c.notify_seq, c.highlight_seq
        FROM counted c WHERE c.counts
        ORDER BY c.user_id, c.room_nid, c.thread_id, c.read_pos DESC
        ON CONFLICT (user_id, room_nid, thread_id) DO UPDATE
        SET read_pos = excluded.read_pos, notify_seq = excluded.notify_seq,
            highlight_seq = excluded.highlight_seq
        WHERE r.read_pos < excluded.read_pos
    )
    SELECT coalesce(array_agg(c.ord ORDER BY c.pos), '{}'),
           coalesce(array_agg(c.pos ORDER BY c.pos), '{}'),
           array_agg(c.notify_seq ORDER BY c.pos), array_agg(c.highlight_seq ORDER BY c.pos)
    INTO ords, positions, notify_seqs, highlight_seqs
    FROM counted c;
END;
$$;
