-- Previews of pages, and which events and previews refer to which media.

CREATE TABLE url_previews (
    -- SHA-256 of the URL and the languages that it was asked for in: URLs may be long.
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    -- From when until when this is what the page says, in ms since 1970.
    fetched_ts bigint NOT NULL,
    expires_ts bigint NOT NULL,
    url text NOT NULL,
    -- The answer to clients, as JSON.
    preview bytea NOT NULL,
    -- The image, a media of this server; NULL: none.
    image_id text,
    PRIMARY KEY (key, fetched_ts)
);
CREATE INDEX url_previews_fetched ON url_previews (fetched_ts);
CREATE INDEX url_previews_image ON url_previews (image_id) WHERE image_id IS NOT NULL;

-- Events whose content names media. Encrypted events cannot be seen into.
CREATE TABLE media_references (
    event_nid bigint NOT NULL REFERENCES events (event_nid) ON DELETE CASCADE,
    origin text NOT NULL,
    media_id text NOT NULL,
    -- It is what the event is there for, such as its file or its thumbnail.
    is_attached boolean NOT NULL,
    PRIMARY KEY (event_nid, origin, media_id)
);
CREATE INDEX media_references_media ON media_references (origin, media_id);

-- Events that came into the timeline without an entry of the log: backfill.
CREATE TABLE media_reference_backlog (
    event_nid bigint PRIMARY KEY
);
CREATE FUNCTION note_media_reference_backlog() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_reference_backlog (event_nid) VALUES (NEW.event_nid)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END;
$$;
CREATE TRIGGER note_media_reference_backlog AFTER INSERT OR UPDATE OF pos, sub ON events
    FOR EACH ROW WHEN (
        NEW.pos IS NOT NULL AND NEW.sub < 0 AND position('mxc://'::bytea IN NEW.core) > 0
    ) EXECUTE FUNCTION note_media_reference_backlog();
INSERT INTO media_reference_backlog (event_nid)
SELECT e.event_nid FROM events e
WHERE e.pos IS NOT NULL AND e.sub < 0 AND position('mxc://'::bytea IN e.core) > 0;

-- Media that was attached to an event that has been redacted since: to be removed unless
-- something else names it.
CREATE TABLE media_left_over (
    origin text NOT NULL,
    media_id text NOT NULL,
    -- Whose event it was.
    sender text NOT NULL,
    PRIMARY KEY (origin, media_id, sender)
);
