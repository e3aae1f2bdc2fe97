-- Sending to other servers: see docs/architecture.md, "To other servers".

-- Servers that have not got everything: of what the log has at or before the position of their
-- shard (followers.pos of 'federation N'), they lack what is after `pos`. Who is not here has all.
CREATE TABLE outbound_cursors (
    shard smallint NOT NULL,
    destination text NOT NULL,
    pos bigint NOT NULL,
    PRIMARY KEY (shard, destination)
);

-- The rooms of a server.
CREATE INDEX memberships_server
    ON memberships (substr(user_id, strpos(user_id, ':') + 1), room_nid);

-- The updates of a user's device list, each of which names the one before.
CREATE INDEX user_changes_devices ON user_changes (user_id, pos)
    WHERE kind IN ('device_changed', 'device_keys_changed');
