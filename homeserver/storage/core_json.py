"""Looking into the stored core of an event from SQL."""

from typing import Final

# The core of the event `e` as json. PostgreSQL's json functions refuse every document in which a
# string has NUL, so that one display name would keep a whole room from being read. Whatever a
# backslash stands before, one control character for another leaves the document well-formed.
CORE_JSON: Final = "replace(convert_from(e.core, 'UTF8'), '\\u0000', '\\u0001')::json"

# The membership that the member event `e` gives.
MEMBERSHIP: Final = f"{CORE_JSON} -> 'content' ->> 'membership'"
