-- Who users are at other providers of identities, and logins there that are in progress.

-- Kept when an account is deactivated: else the next login there would make another one.
CREATE TABLE external_identities (
    provider_id text NOT NULL,
    -- What the provider calls the user, for good.
    subject text NOT NULL,
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    linked_ts bigint NOT NULL,
    PRIMARY KEY (provider_id, subject)
);
CREATE INDEX external_identities_user ON external_identities (user_id);

-- What a browser is in the middle of.
CREATE TABLE sign_in_flows (
    -- SHA-256 of the flow's ID and of the secret in the browser's cookie.
    flow_hash bytea PRIMARY KEY,
    -- What comes next; each step is taken once.
    step text NOT NULL,
    -- Encrypted under the secret of the cookie, which is kept nowhere else.
    sealed bytea NOT NULL,
    expires_ts bigint NOT NULL
);
CREATE INDEX sign_in_flows_expiry ON sign_in_flows (expires_ts);
