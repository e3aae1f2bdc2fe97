-- Previews of pages.

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

-- Thumbnails: which bytes show a picture at which size. They go with the bytes of the picture.
CREATE TABLE thumbnails (
    source_sha256 bytea NOT NULL REFERENCES media_blobs (sha256) ON DELETE CASCADE,
    -- What was asked for.
    width integer NOT NULL,
    height integer NOT NULL,
    method text NOT NULL,
    is_animated boolean NOT NULL,
    -- NULL: the picture itself serves as such.
    sha256 bytea REFERENCES media_blobs (sha256),
    byte_count bigint NOT NULL,
    content_type text NOT NULL,
    -- What it came out as.
    made_width integer NOT NULL,
    made_height integer NOT NULL,
    PRIMARY KEY (source_sha256, width, height, method, is_animated),
    -- Bytes that refer to themselves would never go.
    CHECK (sha256 <> source_sha256)
);
CREATE INDEX thumbnails_of_blob ON thumbnails (sha256) WHERE sha256 IS NOT NULL;
CREATE TRIGGER thumbnail_references
AFTER INSERT OR UPDATE OF sha256 OR DELETE ON thumbnails
FOR EACH ROW EXECUTE FUNCTION count_blob_references();

-- Which events name which media. Encrypted events cannot be seen into.
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

-- What redacted events said that named media, until a follower has looked at it.
CREATE TABLE media_redactions (
    event_nid bigint PRIMARY KEY REFERENCES events (event_nid) ON DELETE CASCADE,
    sender text NOT NULL,
    core bytea NOT NULL
);
CREATE FUNCTION note_media_redaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_redactions (event_nid, sender, core)
    VALUES (OLD.event_nid, OLD.sender, OLD.core) ON CONFLICT DO NOTHING;
    RETURN NULL;
END;
$$;
CREATE TRIGGER note_media_redaction AFTER UPDATE OF core ON events
    FOR EACH ROW WHEN (
        OLD.redacted_by_nid IS NULL AND NEW.redacted_by_nid IS NOT NULL
        AND position('mxc://'::bytea IN OLD.core) > 0
    ) EXECUTE FUNCTION note_media_redaction();

-- Whose avatar a media is; a hash, because values may be longer than an ordered index takes.
CREATE INDEX profile_avatars ON profile_fields USING hash (value) WHERE name = 'avatar_url';
