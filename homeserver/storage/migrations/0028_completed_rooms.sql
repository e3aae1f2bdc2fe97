-- When did the members of rooms become known that had been omitted? Few rows of very many; every
-- node reads them when it starts.
CREATE INDEX user_changes_room_completed ON user_changes (room_nid, pos)
    WHERE kind = 'room_completed';
