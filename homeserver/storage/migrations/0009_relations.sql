-- A relation carries its event's place and time, so that the children of an event are paged
-- through, and its newest edit is found, without reading all of them. Triggers fill that in and
-- keep what is derived from relations: there are several ways into a timeline (sent here, received,
-- backfilled) and out of it (redacted, purged), and all of them would have to think of it.

ALTER TABLE relations
    ADD COLUMN pos bigint, ADD COLUMN sub integer, ADD COLUMN origin_server_ts bigint;
UPDATE relations r SET pos = e.pos, sub = e.sub, origin_server_ts = e.origin_server_ts
FROM events e WHERE e.event_nid = r.event_nid;
DELETE FROM relations WHERE pos IS NULL;
ALTER TABLE relations
    ALTER COLUMN pos SET NOT NULL, ALTER COLUMN sub SET NOT NULL,
    ALTER COLUMN origin_server_ts SET NOT NULL;

DROP INDEX relations_parent;
CREATE INDEX relations_parent ON relations (parent_id, rel_type, pos, sub);
-- Has this user reacted, or written in this thread?
CREATE INDEX relations_sender ON relations (parent_id, sender);
-- Edits that have nothing to put in the place of what they edit have a key.
CREATE INDEX relations_edits ON relations (parent_id, origin_server_ts)
    WHERE rel_type = 'm.replace' AND key IS NULL;
-- The event closest to a time.
CREATE INDEX events_time ON events (room_nid, origin_server_ts) WHERE pos IS NOT NULL;

-- Only events of the timeline are related: outliers, rejected and soft-failed ones are skipped.
CREATE FUNCTION place_relation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT e.pos, e.sub, e.origin_server_ts INTO NEW.pos, NEW.sub, NEW.origin_server_ts
    FROM events e WHERE e.event_nid = NEW.event_nid AND e.pos IS NOT NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER place_relation BEFORE INSERT ON relations
    FOR EACH ROW EXECUTE FUNCTION place_relation();

-- Flag 16 of an event: others relate, or have related, to it. Without it nobody looks for them.
CREATE FUNCTION mark_parents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE events p SET flags = p.flags | 16
    FROM (SELECT DISTINCT n.parent_id, n.room_nid FROM new_relations n) r
    WHERE p.event_id = r.parent_id AND p.room_nid = r.room_nid AND p.flags & 16 = 0;
    RETURN NULL;
END;
$$;
CREATE TRIGGER mark_parents AFTER INSERT ON relations
    REFERENCING NEW TABLE AS new_relations FOR EACH STATEMENT EXECUTE FUNCTION mark_parents();
UPDATE events p SET flags = p.flags | 16
FROM relations r WHERE p.event_id = r.parent_id AND p.room_nid = r.room_nid;

-- An event of another server may come after those that relate to it. One that a client of this
-- server sends is new to everybody.
CREATE FUNCTION mark_late_parent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM relations r
               WHERE r.parent_id = NEW.event_id AND r.room_nid = NEW.room_nid) THEN
        NEW.flags := NEW.flags | 16;
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER mark_late_parent BEFORE INSERT ON events
    FOR EACH ROW WHEN (NEW.device_id IS NULL) EXECUTE FUNCTION mark_late_parent();

-- A thread whose newest message is redacted goes back to the one before. One without any keeps
-- its row, for the running counts, with no replies.
CREATE FUNCTION turn_back_threads() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE threads h SET latest_nid = l.event_nid, latest_pos = l.pos
    FROM (
        SELECT DISTINCT o.room_nid, o.parent_id FROM old_relations o WHERE o.rel_type = 'm.thread'
    ) d
    JOIN events p ON p.event_id = d.parent_id AND p.room_nid = d.room_nid
    CROSS JOIN LATERAL (
        SELECT r.event_nid, r.pos FROM relations r
        WHERE r.parent_id = d.parent_id AND r.rel_type = 'm.thread' AND r.room_nid = d.room_nid
        ORDER BY r.pos DESC, r.sub DESC LIMIT 1
    ) l
    WHERE h.room_nid = d.room_nid AND h.thread_nid = p.event_nid AND h.latest_nid <> l.event_nid;
    RETURN NULL;
END;
$$;
CREATE TRIGGER turn_back_threads AFTER DELETE ON relations
    REFERENCING OLD TABLE AS old_relations FOR EACH STATEMENT EXECUTE FUNCTION turn_back_threads();
