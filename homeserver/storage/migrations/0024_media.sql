-- Media: what was uploaded here and what was fetched from other servers.

-- The bytes, kept once under their SHA-256 in the store of section `media`.
CREATE TABLE media_blobs (
    sha256 bytea PRIMARY KEY CHECK (octet_length(sha256) = 32),
    byte_count bigint NOT NULL,
    -- Rows of other tables that name these bytes; triggers count them.
    reference_count bigint NOT NULL DEFAULT 0,
    -- False: somebody is putting them into the store, or is about to remove them.
    is_stored boolean NOT NULL DEFAULT false,
    -- When somebody last began to put them there, in ms since 1970.
    touched_ts bigint NOT NULL
);
CREATE INDEX media_blobs_unreferenced ON media_blobs (touched_ts) WHERE reference_count = 0;

CREATE TABLE media (
    -- The server name in the mxc:// URI; our own for what was uploaded here.
    origin text NOT NULL,
    media_id text NOT NULL,
    -- NULL: announced with `create` and not uploaded yet.
    sha256 bytea REFERENCES media_blobs (sha256),
    byte_count bigint,
    content_type text,
    -- NULL: the upload had no name.
    filename text,
    -- NULL: of another server, or made by this one.
    uploader text,
    -- When the ID was made, or the content of another server was fetched first; ms since 1970.
    created_ts bigint NOT NULL,
    -- When the content came; what the freeze of the old paths goes by.
    uploaded_ts bigint,
    -- Until when an announced upload may come; NULL once it has.
    expires_ts bigint,
    -- Not exact: written now and then.
    last_access_ts bigint NOT NULL,
    -- Who quarantined it; NULL: nobody. It is as if it were not there.
    quarantined_by text,
    -- Protected media is neither quarantined with others nor removed by age.
    is_protected boolean NOT NULL DEFAULT false,
    PRIMARY KEY (origin, media_id),
    CHECK ((sha256 IS NULL) = (uploaded_ts IS NULL))
);
CREATE INDEX media_of_blob ON media (sha256);
CREATE INDEX media_of_uploader ON media (uploader, created_ts) WHERE uploader IS NOT NULL;
CREATE INDEX media_pending ON media (expires_ts) WHERE sha256 IS NULL;
CREATE INDEX media_by_access ON media (last_access_ts);

-- For every table with a column `sha256` whose rows keep bytes from being removed.
CREATE FUNCTION count_blob_references() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.sha256 IS NOT DISTINCT FROM OLD.sha256 THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.sha256 IS NOT NULL THEN
        UPDATE media_blobs SET reference_count = reference_count + 1
        WHERE sha256 = NEW.sha256;
    END IF;
    IF TG_OP <> 'INSERT' AND OLD.sha256 IS NOT NULL THEN
        UPDATE media_blobs SET reference_count = reference_count - 1
        WHERE sha256 = OLD.sha256;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER media_references
AFTER INSERT OR UPDATE OF sha256 OR DELETE ON media
FOR EACH ROW EXECUTE FUNCTION count_blob_references();
