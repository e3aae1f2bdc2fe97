-- Open invites into rooms that this server is not in, for those who are notified of them: such an
-- invite is no row of `events`.

CREATE TABLE outside_invites (
    user_id text NOT NULL,
    -- Of its entry in the log. In push_queue it stands with the event_nid 0.
    pos bigint NOT NULL,
    room_nid bigint NOT NULL,
    event_id text NOT NULL,
    sender text NOT NULL,
    origin_server_ts bigint NOT NULL,
    core bytea NOT NULL,
    -- What the stripped state has: the inviter's member event, the room's name and its alias.
    member_core bytea,
    name_core bytea,
    alias_core bytea,
    PRIMARY KEY (user_id, room_nid)
);

-- It goes when the invite is answered, taken back, or turned into something else.
CREATE FUNCTION end_outside_invite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM outside_invites WHERE user_id = NEW.user_id AND room_nid = NEW.room_nid;
    RETURN NULL;
END;
$$;
CREATE TRIGGER end_outside_invite AFTER UPDATE OF membership ON memberships
    FOR EACH ROW WHEN (OLD.membership = 'invite' AND NEW.membership <> 'invite')
    EXECUTE FUNCTION end_outside_invite();
