-- The keys of other servers, and which servers are left alone after failures.

CREATE TABLE server_keys (
    server_name text NOT NULL,
    key_id text NOT NULL,
    -- Unpadded base64.
    verify_key text NOT NULL,
    -- At most seven days after it was fetched, whatever its server says.
    valid_until_ts bigint NOT NULL,
    -- Set for keys that their server no longer uses: valid for events until then.
    expired_ts bigint,
    fetched_ts bigint NOT NULL,
    -- The JSON that the server has signed, which is handed on to those who ask us for its keys.
    document bytea NOT NULL,
    PRIMARY KEY (server_name, key_id)
);

-- Only servers that have failed since they last answered.
CREATE TABLE destination_failures (
    server_name text PRIMARY KEY,
    -- In a row; those of requests that ran at the same time count as one.
    failures integer NOT NULL,
    -- When the first of them was.
    failing_since_ts bigint NOT NULL,
    failed_ts bigint NOT NULL,
    -- No request before this.
    retry_ts bigint NOT NULL
);
