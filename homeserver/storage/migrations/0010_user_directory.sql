-- The user directory: names to search for. It follows the log; who may be found by whom is
-- decided by memberships at the time of the search.
CREATE TABLE user_directory (
    user_id text PRIMARY KEY,
    display_name text,
    avatar_url text,
    -- Where the name is from the profile: NULL. Else the room and the event that tell it; it is
    -- shown only to who is in that room, unless the room is open.
    name_room_nid bigint,
    name_event_nid bigint
);
CREATE INDEX user_directory_event ON user_directory (name_event_nid)
    WHERE name_event_nid IS NOT NULL;

-- What a search term may begin like: words of the display name and of the user ID, folded.
-- Compared by bytes, so that a prefix is a range.
CREATE TABLE user_directory_words (
    word text COLLATE "C" NOT NULL,
    user_id text NOT NULL,
    is_name boolean NOT NULL,
    PRIMARY KEY (word, user_id, is_name)
);
CREATE INDEX user_directory_words_user ON user_directory_words (user_id);

-- Rooms that anybody may join or read: their members may be found by everybody.
CREATE TABLE open_rooms (
    room_nid bigint PRIMARY KEY
);
