-- What users tell everybody about themselves: Canonical JSON by the name of the field.
CREATE TABLE profile_fields (
    user_id text NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    -- Letters, digits, `.`, `_` and `-`: nothing that JSON escapes.
    name text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (user_id, name)
);
