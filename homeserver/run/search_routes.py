"""Searching for messages, put together."""

from client_api.routes.search import SearchRoutes
from homeserver.run.foundation import Foundation
from homeserver.run.room_layer import RoomLayer
from homeserver.services.aggregations import Aggregations
from homeserver.services.room_pages import RoomPages
from homeserver.services.search import Search
from homeserver.services.search_answer import SearchAnswers
from homeserver.services.search_candidates import SearchCandidates
from homeserver.services.search_context import SearchContext
from homeserver.services.search_index import SearchIndex


def search_of(base: Foundation, rooms: RoomLayer) -> Search:
    """Put the search together."""
    database = base.database
    context = SearchContext(
        RoomPages(database, rooms.timeline, base.personal_rules), rooms.read_state
    )
    answers = SearchAnswers(
        database,
        context,
        rooms.read_state,
        Aggregations(database, base.personal_rules, rooms.erasure),
        rooms.erasure,
    )
    return Search(
        database,
        rooms.access,
        base.personal_rules,
        SearchCandidates(database),
        answers,
        base.clock,
    )


def search_index_of(base: Foundation) -> SearchIndex:
    """Put the index together, which a follower keeps up to date."""
    return SearchIndex(base.database, base.clock)


def search_routes(base: Foundation, rooms: RoomLayer) -> list[object]:
    """Return the objects whose endpoints search."""
    return [SearchRoutes(search_of(base, rooms))]
