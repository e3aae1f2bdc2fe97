"""Looking into the stored core of an event from SQL."""

from typing import Final

# The core of the event `e` as json. PostgreSQL's json functions refuse every document in which a
# string has NUL, so that one display name would keep a whole room from being read. Whatever a
# backslash stands before, one control character for another leaves the document well-formed.
CORE_JSON: Final = "replace(convert_from(e.core, 'UTF8'), '\\u0000', '\\u0001')::json"

# The membership that the member event `e` gives.
MEMBERSHIP: Final = f"{CORE_JSON} -> 'content' ->> 'membership'"

# The same, read from `memberships` where that row is of this very event, as it is for nearly all
# of the current state: taking a core apart costs five times as much.
KNOWN_MEMBERSHIP: Final = f"coalesce(m.membership, {MEMBERSHIP})"
MEMBERSHIP_JOIN: Final = """
    LEFT JOIN memberships m
    ON m.room_nid = $1 AND m.user_id = e.state_key AND m.event_nid = e.event_nid
"""
