-- Keys of devices and users for end-to-end encryption. `keys` is a key object as JSON without
-- `signatures` and `unsigned`; `signatures` are those of the owner's own keys, which everybody may
-- see: user ID → key ID → signature.

CREATE TABLE device_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    keys bytea NOT NULL,
    signatures bytea NOT NULL,
    PRIMARY KEY (user_id, device_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);

CREATE TABLE cross_signing_keys (
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    -- master, self_signing or user_signing
    usage text NOT NULL,
    public_key text NOT NULL,
    keys bytea NOT NULL,
    signatures bytea NOT NULL,
    PRIMARY KEY (user_id, usage)
);

-- What users have signed of others' master keys; only the signer may see it.
CREATE TABLE user_signatures (
    signer_id text NOT NULL,
    target_id text NOT NULL,
    -- The public key that is signed: of a key that was replaced since, it counts no more.
    public_key text NOT NULL,
    signatures bytea NOT NULL,
    pos bigint NOT NULL,
    PRIMARY KEY (signer_id, target_id)
);
CREATE INDEX user_signatures_pos ON user_signatures (signer_id, pos);

-- In the order of `ordinal`, in which they were uploaded. A claimed key stays for a while, so that
-- it is not given away again when its upload is repeated.
CREATE TABLE one_time_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    ordinal bigint GENERATED ALWAYS AS IDENTITY,
    key bytea NOT NULL,
    is_claimed boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, device_id, algorithm, key_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);
CREATE INDEX one_time_keys_unclaimed ON one_time_keys (user_id, device_id, algorithm, ordinal)
    WHERE NOT is_claimed;

CREATE TABLE fallback_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key bytea NOT NULL,
    is_used boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, device_id, algorithm),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);

-- What is known of users of other servers: their lists as of stream_id of their server. A stale
-- list has missed an update and is to be asked for again.
CREATE TABLE remote_device_lists (
    user_id text PRIMARY KEY,
    stream_id bigint NOT NULL,
    is_stale boolean NOT NULL DEFAULT false,
    -- Whole key objects as JSON; NULL: the user has none.
    master_key bytea,
    self_signing_key bytea
);
CREATE INDEX remote_device_lists_stale ON remote_device_lists (user_id) WHERE is_stale;

CREATE TABLE remote_devices (
    user_id text NOT NULL REFERENCES remote_device_lists (user_id) ON DELETE CASCADE,
    device_id text NOT NULL,
    -- The key object as JSON, without `unsigned`; NULL: a device without keys.
    keys bytea,
    display_name text,
    PRIMARY KEY (user_id, device_id)
);

-- When users' keys have last changed (what clients are told), and their devices in any way (what
-- other servers are told): one row a user, however often.
CREATE TABLE device_list_positions (
    user_id text PRIMARY KEY,
    keys_pos bigint NOT NULL,
    list_pos bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX device_list_positions_keys ON device_list_positions (keys_pos);

-- Whoever appends such a change to the log holds the log: nobody waits for these rows in a circle.
CREATE FUNCTION place_device_list() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_of_keys CONSTANT boolean := NEW.kind <> 'device_changed';
BEGIN
    INSERT INTO device_list_positions AS d (user_id, keys_pos, list_pos)
    VALUES (NEW.user_id, CASE WHEN is_of_keys THEN NEW.pos ELSE 0 END, NEW.pos)
    ON CONFLICT (user_id) DO UPDATE
    SET keys_pos = greatest(d.keys_pos, excluded.keys_pos), list_pos = excluded.list_pos;
    RETURN NULL;
END;
$$;
CREATE TRIGGER user_changes_device_list AFTER INSERT ON user_changes FOR EACH ROW
    WHEN (NEW.kind IN ('device_changed', 'device_keys_changed', 'cross_signing_changed'))
    EXECUTE FUNCTION place_device_list();
INSERT INTO device_list_positions (user_id, keys_pos, list_pos)
SELECT c.user_id, 0, max(c.pos) FROM user_changes c WHERE c.kind = 'device_changed' GROUP BY 1;

CREATE TYPE one_time_key_claim AS (user_id text, device_id text, algorithm text);

-- One batch of claims: streams/log_writer.py is the only caller. Gives each claim the oldest key
-- that nobody else is being given, else the fallback key. Waits for no row: whoever claims on
-- another node gets the next key, and a fallback key that is being replaced or marked stays as it
-- is. Returns the positions (base_pos, upto] that were taken, one for each device of which less is
-- left now (users, devices), and for each claim that found a key its 1-based place in the batch.
CREATE FUNCTION claim_one_time_keys(
    p_claims one_time_key_claim[],
    OUT base_pos bigint, OUT upto bigint, OUT users text[], OUT devices text[],
    OUT ords integer[], OUT key_ids text[], OUT keys bytea[]
) LANGUAGE plpgsql AS $$
DECLARE
    claim record;
    found_key record;
    is_changed boolean;
BEGIN
    users := '{}';
    devices := '{}';
    ords := '{}';
    key_ids := '{}';
    keys := '{}';
    FOR claim IN
        SELECT c.user_id, c.device_id, c.algorithm, c.ord
        FROM unnest(p_claims) WITH ORDINALITY AS c (user_id, device_id, algorithm, ord)
        ORDER BY c.ord
    LOOP
        is_changed := true;
        UPDATE one_time_keys k SET is_claimed = true
        WHERE k.user_id = claim.user_id AND k.device_id = claim.device_id
          AND k.algorithm = claim.algorithm AND k.key_id = (
              SELECT o.key_id FROM one_time_keys o
              WHERE o.user_id = claim.user_id AND o.device_id = claim.device_id
                AND o.algorithm = claim.algorithm AND NOT o.is_claimed
              ORDER BY o.ordinal LIMIT 1 FOR UPDATE SKIP LOCKED
          )
        RETURNING k.key_id, k.key INTO found_key;
        IF NOT FOUND THEN
            UPDATE fallback_keys f SET is_used = true
            WHERE f.user_id = claim.user_id AND f.device_id = claim.device_id
              AND f.algorithm = claim.algorithm AND EXISTS (
                  SELECT FROM fallback_keys o
                  WHERE o.user_id = claim.user_id AND o.device_id = claim.device_id
                    AND o.algorithm = claim.algorithm AND NOT o.is_used
                  FOR UPDATE SKIP LOCKED
              )
            RETURNING f.key_id, f.key INTO found_key;
        END IF;
        IF NOT FOUND THEN
            is_changed := false;
            SELECT f.key_id, f.key INTO found_key FROM fallback_keys f
            WHERE f.user_id = claim.user_id AND f.device_id = claim.device_id
              AND f.algorithm = claim.algorithm;
        END IF;
        IF NOT FOUND THEN
            CONTINUE;
        END IF;
        ords := ords || claim.ord::integer;
        key_ids := key_ids || found_key.key_id;
        keys := keys || found_key.key;
        IF is_changed THEN
            users := users || claim.user_id;
            devices := devices || claim.device_id;
        END IF;
    END LOOP;
    SELECT coalesce(array_agg(d.user_id), '{}'), coalesce(array_agg(d.device_id), '{}')
    INTO users, devices
    FROM (SELECT DISTINCT u.user_id, u.device_id FROM unnest(users, devices) AS u (user_id, device_id)) d;
    IF cardinality(users) = 0 THEN
        SELECT h.pos, h.pos INTO base_pos, upto FROM log_head h;
        RETURN;
    END IF;
    UPDATE log_head h SET pos = h.pos + cardinality(users) RETURNING h.pos INTO upto;
    base_pos := upto - cardinality(users);
    INSERT INTO user_changes (pos, user_id, kind, device_id)
    SELECT base_pos + c.ord, c.user_id, 'one_time_keys_changed', c.device_id
    FROM unnest(users, devices) WITH ORDINALITY AS c (user_id, device_id, ord);
END;
$$;
