-- What clients ask to be left out of their answers. The ID is made from the definition, so equal
-- filters of a user are one row, and a row never changes.
CREATE TABLE filters (
    user_id text NOT NULL,
    filter_id text NOT NULL,
    definition bytea NOT NULL,
    PRIMARY KEY (user_id, filter_id)
);
