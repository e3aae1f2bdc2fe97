-- Texts to search for. A follower of the log writes them; a search reads only the parts of the
-- rooms that the searching user may read.

CREATE TABLE search_texts (
    event_nid bigint PRIMARY KEY,
    pos bigint NOT NULL,
    -- When it was sent, as its server says, but never later than it was indexed.
    ts bigint NOT NULL,
    -- The edit that the text is from.
    edit_nid bigint,
    edit_pos bigint,
    -- 1 body, 2 name, 3 topic
    kind smallint NOT NULL,
    sender text NOT NULL,
    -- Each word stands behind the number of the part of its room, `1f/word`, so that a search
    -- reads the postings of its own rooms and of no others, newest part first.
    words tsvector NOT NULL
);
-- With a pending list every part that is asked for would read all of that list.
CREATE INDEX search_texts_words ON search_texts USING gin (words) WITH (fastupdate = off);
CREATE INDEX search_texts_edit ON search_texts (edit_nid) WHERE edit_nid IS NOT NULL;
-- The texts of one part stand together; few are ever replaced.
ALTER TABLE search_texts SET (autovacuum_vacuum_insert_scale_factor = 0.5);

-- The texts of a room in the order of indexing, cut into parts of a bounded number.
CREATE TABLE search_parts (
    part_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_nid bigint NOT NULL,
    texts integer NOT NULL,
    newest_ts bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX search_parts_room ON search_parts (room_nid, part_nid);

-- Events that came into the timeline without an entry of the log, to be indexed: backfill.
CREATE TABLE search_backlog (
    event_nid bigint PRIMARY KEY
);
CREATE FUNCTION note_search_backlog() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO search_backlog (event_nid) VALUES (NEW.event_nid) ON CONFLICT DO NOTHING;
    RETURN NULL;
END;
$$;
CREATE TRIGGER note_search_backlog AFTER INSERT OR UPDATE OF pos, sub ON events
    FOR EACH ROW WHEN (
        NEW.pos IS NOT NULL AND NEW.sub < 0
        AND NEW.type IN ('m.room.message', 'm.room.name', 'm.room.topic')
    ) EXECUTE FUNCTION note_search_backlog();
INSERT INTO search_backlog (event_nid)
SELECT e.event_nid FROM events e
WHERE e.pos IS NOT NULL AND e.sub < 0
  AND e.type IN ('m.room.message', 'm.room.name', 'm.room.topic');

-- Whichever way events go away, so do their texts.
CREATE FUNCTION forget_search_texts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM search_texts t USING old_events o WHERE t.event_nid = o.event_nid;
    RETURN NULL;
END;
$$;
CREATE TRIGGER forget_search_texts AFTER DELETE ON events
    REFERENCING OLD TABLE AS old_events FOR EACH STATEMENT EXECUTE FUNCTION forget_search_texts();
