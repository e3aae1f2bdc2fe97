-- Messages to devices, and dehydrated devices.

-- Waiting for a local device, until it acknowledges them or they are too old. All messages of one
-- request have its position, so a device has at most one message at a position. They come in the
-- order of positions.
CREATE TABLE to_device_messages (
    user_id text NOT NULL,
    device_id text NOT NULL,
    pos bigint NOT NULL,
    sender text NOT NULL,
    type text NOT NULL,
    -- As JSON.
    content bytea NOT NULL,
    created_ts bigint NOT NULL,
    PRIMARY KEY (user_id, device_id, pos),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);
-- For the readers of the log, and to find the oldest.
CREATE INDEX to_device_messages_pos ON to_device_messages (pos);

-- Waiting for other servers: the content of one EDU m.direct_to_device each, as JSON.
CREATE TABLE outbound_to_device (
    destination text NOT NULL,
    pos bigint NOT NULL,
    edu bytea NOT NULL,
    created_ts bigint NOT NULL,
    PRIMARY KEY (destination, pos)
);
CREATE INDEX outbound_to_device_pos ON outbound_to_device (pos);

-- What was sent lately, by clients and by other servers: a digest of who has sent it under which
-- transaction or message ID. What comes again is the same, and has been done.
CREATE TABLE to_device_requests (
    digest bytea PRIMARY KEY,
    created_ts bigint NOT NULL
);
CREATE INDEX to_device_requests_created ON to_device_requests (created_ts);

-- A user has at most one device that waits, encrypted, to be woken up by a later session.
CREATE TABLE dehydrated_devices (
    user_id text PRIMARY KEY,
    device_id text NOT NULL,
    -- As JSON; only the user's clients can make sense of it.
    device_data bytea NOT NULL,
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);

-- One batch of requests in one statement: streams/log_writer.py is the only caller.
--
-- A request is what one client, or another server, sends at once; messages and EDUs name theirs by
-- its 1-based place. The device ID '*' stands for all devices of the user, except those for which
-- the request has a message of their own. Devices that do not exist get nothing.
--
-- Returns the positions (base_pos, upto] that were taken, and for each request its own, or NULL
-- where it has none: it was done before, or reaches nobody. `busy` are the places of requests that
-- somebody else is writing at the moment; nothing has happened to them.
CREATE FUNCTION append_to_device(
    p_digests bytea[], p_senders text[], p_types text[], p_created_ts bigint[],
    p_requests integer[], p_user_ids text[], p_device_ids text[], p_contents bytea[],
    p_edu_requests integer[], p_destinations text[], p_edus bytea[],
    OUT base_pos bigint, OUT upto bigint, OUT positions bigint[], OUT busy integer[]
) LANGUAGE plpgsql AS $$
DECLARE
    fresh integer[];
    taken integer[];
    target_messages integer[];
    target_devices text[];
BEGIN
    -- Nothing here may wait for others: a batch may hold the log already. Who has the lock of a
    -- digest is the only one who writes it.
    SELECT coalesce(array_agg(r.ord), '{}') INTO busy
    FROM unnest(p_digests) WITH ORDINALITY AS r (digest, ord)
    WHERE NOT pg_try_advisory_xact_lock(
        hashtextextended('to_device ' || encode(r.digest, 'hex'), 0)
    );

    -- A statement of its own, which sees what was committed before the lock was given.
    WITH inserted AS (
        INSERT INTO to_device_requests (digest, created_ts)
        SELECT DISTINCT ON (r.digest) r.digest, r.created_ts
        FROM unnest(p_digests, p_created_ts) WITH ORDINALITY AS r (digest, created_ts, ord)
        WHERE r.ord <> ALL (busy)
        ON CONFLICT (digest) DO NOTHING
        RETURNING digest
    )
    SELECT coalesce(array_agg(f.ord), '{}') INTO fresh
    FROM (
        SELECT min(r.ord) AS ord
        FROM unnest(p_digests) WITH ORDINALITY AS r (digest, ord)
        JOIN inserted USING (digest)
        GROUP BY r.digest
    ) f;

    -- The devices stay until the end of the transaction; one that is being deleted is gone.
    SELECT array_agg(t.message), array_agg(t.device_id) INTO target_messages, target_devices
    FROM (
        SELECT DISTINCT ON (m.request, m.user_id, a.device_id) a.message, a.device_id
        FROM (
            SELECT * FROM (
                SELECT w.ord AS message, d.device_id
                FROM unnest(p_requests, p_user_ids, p_device_ids)
                     WITH ORDINALITY AS w (request, user_id, device_id, ord)
                JOIN devices d ON d.user_id = w.user_id AND d.device_id = w.device_id
                WHERE w.device_id <> '*' AND w.request = ANY (fresh)
                FOR KEY SHARE OF d SKIP LOCKED
            ) named
            UNION ALL
            SELECT * FROM (
                SELECT w.ord AS message, d.device_id
                FROM unnest(p_requests, p_user_ids, p_device_ids)
                     WITH ORDINALITY AS w (request, user_id, device_id, ord)
                JOIN devices d ON d.user_id = w.user_id
                WHERE w.device_id = '*' AND w.request = ANY (fresh)
                FOR KEY SHARE OF d SKIP LOCKED
            ) every
        ) a
        JOIN unnest(p_requests, p_user_ids, p_device_ids)
             WITH ORDINALITY AS m (request, user_id, device_id, ord) ON m.ord = a.message
        ORDER BY m.request, m.user_id, a.device_id, m.device_id = '*'
    ) t;

    SELECT coalesce(array_agg(f.ord ORDER BY f.ord), '{}') INTO taken
    FROM unnest(fresh) AS f (ord)
    WHERE f.ord = ANY (p_edu_requests) OR f.ord IN (
        SELECT p_requests[t.message] FROM unnest(target_messages) AS t (message)
    );
    IF cardinality(taken) = 0 THEN
        SELECT h.pos, h.pos INTO base_pos, upto FROM log_head h;
    ELSE
        UPDATE log_head h SET pos = h.pos + cardinality(taken) RETURNING h.pos INTO upto;
        base_pos := upto - cardinality(taken);
    END IF;
    SELECT array_agg(base_pos + array_position(taken, r.ord::integer) ORDER BY r.ord)
    INTO positions
    FROM unnest(p_digests) WITH ORDINALITY AS r (digest, ord);

    INSERT INTO to_device_messages (user_id, device_id, pos, sender, type, content, created_ts)
    SELECT m.user_id, t.device_id, positions[m.request], p_senders[m.request], p_types[m.request],
           m.content, p_created_ts[m.request]
    FROM unnest(target_messages, target_devices) AS t (message, device_id)
    JOIN unnest(p_requests, p_user_ids, p_contents)
         WITH ORDINALITY AS m (request, user_id, content, ord) ON m.ord = t.message;

    INSERT INTO outbound_to_device (destination, pos, edu, created_ts)
    SELECT e.destination, positions[e.request], e.edu, p_created_ts[e.request]
    FROM unnest(p_edu_requests, p_destinations, p_edus) AS e (request, destination, edu)
    WHERE e.request = ANY (taken);
END;
$$;
