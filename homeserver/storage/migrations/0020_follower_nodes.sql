-- Until when nodes are alive, and which followers each would run. A node has a row for each of its
-- parts that renews leases by itself; the renewal says both. Clocks are the nodes' own.
CREATE TABLE follower_nodes (
    node_id text NOT NULL,
    part text NOT NULL,
    names text[] NOT NULL,
    alive_until_ms bigint NOT NULL,
    PRIMARY KEY (node_id, part)
) WITH (fillfactor = 50);
