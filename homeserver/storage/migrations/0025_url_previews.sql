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
