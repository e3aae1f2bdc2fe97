"""What is asked of a search. Spec: client-server-api/#post_matrixclientv3search"""

from collections.abc import Collection, Sequence

import msgspec

from homeserver.protocol.filters import RoomEventFilter
from homeserver.services.search_context import ContextRequest
from homeserver.services.search_texts import SEARCH_KEYS
from homeserver.services.search_token import GroupKey, Order, SearchToken


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to search for, and what of the results to tell."""

    term: str
    # Names of SEARCH_KEYS.
    keys: Collection[str] = tuple(SEARCH_KEYS)
    filter: RoomEventFilter = RoomEventFilter()
    order: Order = "rank"
    context: ContextRequest | None = None
    include_state: bool = False
    group_by: Sequence[GroupKey] = ()
    start: SearchToken | None = None
