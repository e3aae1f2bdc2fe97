-- The presence of users, here and elsewhere, as it was told last. A change that others are told of
-- takes a position; the times alone do not.
CREATE TABLE presence (
    user_id text PRIMARY KEY,
    is_local boolean NOT NULL,
    presence text NOT NULL,
    currently_active boolean NOT NULL,
    status_msg text,
    -- What the user has chosen over what is seen: 'unavailable' or 'offline'; and when.
    chosen text,
    chosen_ts bigint NOT NULL,
    last_active_ts bigint NOT NULL,
    -- When this was written, or confirmed by the user's server.
    updated_ts bigint NOT NULL,
    pos bigint NOT NULL
);
CREATE INDEX presence_pos ON presence (pos);
CREATE INDEX presence_present ON presence (updated_ts) WHERE presence <> 'offline';

-- The nodes that are alive, until they have not said so for too long. What follows from the
-- clients of a node does not outlive it.
CREATE TABLE presence_nodes (
    node_id text PRIMARY KEY,
    alive_until_ts bigint NOT NULL
);

-- What a user is by the clients that are connected to one node; no row: none are.
CREATE TABLE presence_on_nodes (
    user_id text NOT NULL,
    node_id text NOT NULL,
    presence text NOT NULL,
    currently_active boolean NOT NULL,
    PRIMARY KEY (user_id, node_id)
);
CREATE INDEX presence_on_nodes_node ON presence_on_nodes (node_id);
