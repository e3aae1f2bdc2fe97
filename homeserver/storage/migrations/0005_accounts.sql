-- Local accounts, their devices and tokens, and what is needed to make them.

CREATE TABLE users (
    user_id text PRIMARY KEY,
    created_ts bigint NOT NULL,
    -- NULL: no login by password.
    password_hash text,
    is_guest boolean NOT NULL DEFAULT false,
    is_admin boolean NOT NULL DEFAULT false,
    is_locked boolean NOT NULL DEFAULT false,
    is_suspended boolean NOT NULL DEFAULT false,
    -- The application service that made the account.
    appservice_id text,
    -- What the account is for, in the words of who made it: `bot`, `support`.
    user_type text,
    deactivated_ts bigint,
    -- Deactivated, and not out of all rooms yet.
    is_leaving boolean NOT NULL DEFAULT false,
    is_erased boolean NOT NULL DEFAULT false
);
CREATE INDEX users_leaving ON users (user_id) WHERE is_leaving;

-- The versions of the policies that a user has accepted.
CREATE TABLE terms_acceptances (
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    policy_id text NOT NULL,
    policy_version text NOT NULL,
    accepted_ts bigint NOT NULL,
    PRIMARY KEY (user_id, policy_id, policy_version)
);

-- Whatever belongs to a device refers to it here and goes with it.
CREATE TABLE devices (
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    device_id text NOT NULL,
    display_name text,
    created_ts bigint NOT NULL,
    last_seen_ts bigint,
    last_seen_ip text,
    last_seen_user_agent text,
    PRIMARY KEY (user_id, device_id)
) WITH (fillfactor = 80);

-- Tokens are 256 random bits, so that their SHA-256 needs no salt.
CREATE TABLE refresh_tokens (
    refresh_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE,
    user_id text NOT NULL,
    device_id text NOT NULL,
    created_ts bigint NOT NULL,
    -- NULL: never.
    expires_ts bigint,
    -- What this one was exchanged for. Until the next one, or its access token, is used, this
    -- one stays valid and may be exchanged again.
    next_nid bigint REFERENCES refresh_tokens (refresh_nid) ON DELETE SET NULL,
    -- Set when the next one came into use: whoever still shows this one has stolen it, or was
    -- stolen from. Kept for a while to notice.
    superseded_ts bigint,
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_device ON refresh_tokens (user_id, device_id);
CREATE INDEX refresh_tokens_next ON refresh_tokens (next_nid) WHERE next_nid IS NOT NULL;

CREATE TABLE access_tokens (
    token_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE,
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    -- NULL: a token that acts as the user without a device.
    device_id text,
    created_ts bigint NOT NULL,
    -- NULL: never.
    expires_ts bigint,
    -- The refresh token that was issued together with it.
    refresh_nid bigint REFERENCES refresh_tokens (refresh_nid) ON DELETE CASCADE,
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);
CREATE INDEX access_tokens_refresh ON access_tokens (refresh_nid) WHERE refresh_nid IS NOT NULL;

-- Tokens for m.login.token: each logs in once.
CREATE TABLE login_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    expires_ts bigint NOT NULL
);
CREATE INDEX login_tokens_user ON login_tokens (user_id);

-- Tokens that administrators hand out to those who may register.
CREATE TABLE registration_tokens (
    token text PRIMARY KEY,
    created_ts bigint NOT NULL,
    -- NULL: any number of times.
    uses_allowed integer CHECK (uses_allowed >= 0),
    uses_completed integer NOT NULL DEFAULT 0,
    -- NULL: never.
    expires_ts bigint
);

-- User-interactive authentication in progress. The session ID is a secret of the client; only
-- its hash is here.
CREATE TABLE uia_sessions (
    session_hash bytea PRIMARY KEY,
    -- What it authorises: an operation with its target.
    operation text NOT NULL,
    -- Who started it; NULL: nobody is logged in yet.
    user_id text,
    -- The flows that were offered, as JSON.
    flows text NOT NULL,
    expires_ts bigint NOT NULL,
    -- The request without `auth`, encrypted under the session ID: it may hold a password.
    sealed_request bytea,
    -- The account that the session has registered: it registers one, however often it is shown.
    registered_user_id text,
    registered_device_id text
);
CREATE INDEX uia_sessions_expiry ON uia_sessions (expires_ts);

-- Completed stages, in order of `ordinal`.
CREATE TABLE uia_stages (
    session_hash bytea NOT NULL REFERENCES uia_sessions (session_hash) ON DELETE CASCADE,
    stage text NOT NULL,
    ordinal bigint GENERATED ALWAYS AS IDENTITY,
    -- What the stage found out: the registration token, the policies accepted.
    proof text NOT NULL DEFAULT '',
    PRIMARY KEY (session_hash, stage)
);
CREATE INDEX uia_stages_registration_token ON uia_stages (proof)
    WHERE stage = 'm.login.registration_token';
