-- E-mail addresses of accounts, their verification, and mail that waits to be sent.

-- Verified addresses, in canonical form: each belongs to one account.
CREATE TABLE third_party_ids (
    medium text NOT NULL,
    address text NOT NULL,
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    validated_ts bigint NOT NULL,
    added_ts bigint NOT NULL,
    PRIMARY KEY (medium, address)
);
CREATE INDEX third_party_ids_user ON third_party_ids (user_id);

-- Through which identity servers users have made themselves known by an address.
CREATE TABLE identity_bindings (
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    medium text NOT NULL,
    address text NOT NULL,
    id_server text NOT NULL,
    PRIMARY KEY (user_id, medium, address, id_server)
);

-- Verifications in progress. The client secret and the tokens are random: SHA-256 needs no salt.
CREATE TABLE validation_sessions (
    sid text PRIMARY KEY,
    -- What the address is verified for: a session is of no use for anything else.
    purpose text NOT NULL,
    medium text NOT NULL,
    address text NOT NULL,
    secret_hash bytea NOT NULL,
    last_attempt bigint NOT NULL,
    next_link text,
    -- Of every mail that was sent, the newest last. None: the mail said why there is no token.
    token_hashes bytea[] NOT NULL,
    wrong_tokens integer NOT NULL DEFAULT 0,
    expires_ts bigint NOT NULL,
    -- NULL: not verified yet.
    validated_ts bigint,
    UNIQUE (medium, address, secret_hash, purpose)
);
CREATE INDEX validation_sessions_expiry ON validation_sessions (expires_ts);

CREATE TABLE mail_queue (
    mail_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient text NOT NULL,
    subject text NOT NULL,
    text_body text NOT NULL,
    html_body text,
    -- Names and values in turn.
    headers text[] NOT NULL,
    message_id text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    -- Not to be sent before; moved on by whoever is sending it.
    next_ts bigint NOT NULL,
    expires_ts bigint NOT NULL
);
CREATE INDEX mail_queue_next ON mail_queue (next_ts);
