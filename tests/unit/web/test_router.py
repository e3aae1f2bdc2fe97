"""Paths find their endpoints."""

import pytest

from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import RoomID
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, Endpoint, endpoint, endpoints_of
from homeserver.web.params import Params
from homeserver.web.paths import CLIENT_V3
from homeserver.web.router import Match, Router, WrongMethod

ROOM = CLIENT_V3 / "rooms/{room_id}"
TYPE = CLIENT_V3 / "rooms/{room_id}/state/{event_type}"
STATE = CLIENT_V3 / "rooms/{room_id}/state/{event_type}/{state_key}"


class RoomPath(Params, frozen=True):
    room_id: RoomID


class StatePath(Params, frozen=True):
    room_id: RoomID
    event_type: str
    state_key: str = ""


class NamePath(Params, frozen=True):
    name: str


class Routes:
    @endpoint("GET", ROOM, auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def room(self, path: RoomPath) -> Empty:
        """Answer."""
        return Empty()

    @endpoint("GET", STATE, also=[TYPE], auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def state(self, path: StatePath) -> Empty:
        """Answer."""
        return Empty()

    @endpoint("PUT", STATE, auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def put_state(self, path: StatePath) -> Empty:
        """Answer."""
        return Empty()

    @endpoint("GET", CLIENT_V3 / "query/{name}", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def query(self, path: NamePath) -> Empty:
        """Answer."""
        return Empty()

    @endpoint("PUT", CLIENT_V3 / "query/profile", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def profile(self) -> Empty:
        """Answer."""
        return Empty()

    @endpoint("GET", CLIENT_V3 / "a/{name}/c", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def deep(self, path: NamePath) -> Empty:
        """Answer."""
        return Empty()

    @endpoint("GET", CLIENT_V3 / "a/b/d", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def static(self) -> Empty:
        """Answer."""
        return Empty()

    @endpoint("GET", CLIENT_V3 / "pushrules/", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def rules(self) -> Empty:
        """Answer."""
        return Empty()


ENDPOINTS = [declared for _, declared in endpoints_of(Routes)]
ROUTER = Router((each, each.operation) for each in ENDPOINTS)


def found(method: str, path: str) -> tuple[str, dict[str, str]]:
    match = ROUTER.match(method, f"/_matrix/client/v3/{path}")
    assert isinstance(match, Match)
    return match.target.removeprefix("client."), match.values()


def test_braces_take_one_segment() -> None:
    assert found("GET", "rooms/!a:b") == ("room", {"room_id": "!a:b"})
    assert ROUTER.match("GET", "/_matrix/client/v3/rooms/!a:b/more") is None


def test_older_prefixes_answer_the_same() -> None:
    match = ROUTER.match("GET", "/_matrix/client/r0/rooms/!a:b")
    assert isinstance(match, Match)
    assert match.target == "client.room"


def test_escapes_are_resolved_and_an_escaped_slash_stays_in_its_segment() -> None:
    _, values = found("GET", "rooms/%21a%3Ab/state/m.x/a%2Fb%20c")
    assert values == {"room_id": "!a:b", "event_type": "m.x", "state_key": "a/b c"}


def test_a_plus_is_a_plus_in_a_path() -> None:
    assert found("GET", "query/a+b")[1] == {"name": "a+b"}


def test_an_empty_segment_is_a_value() -> None:
    assert found("GET", "rooms/!a:b/state/m.x/")[1]["state_key"] == ""


def test_a_path_without_the_last_segment_leaves_the_field_to_its_default() -> None:
    assert found("GET", "rooms/!a:b/state/m.x")[1] == {"room_id": "!a:b", "event_type": "m.x"}


def test_text_beyond_ascii_is_taken_escaped_or_not() -> None:
    assert found("GET", "query/%C3%A4")[1] == {"name": "ä"}
    assert found("GET", "query/ä")[1] == {"name": "ä"}


@pytest.mark.parametrize("segment", ["%ff", "%ed%a0%80", "\udcff"])
def test_bytes_that_are_not_utf8_are_refused(segment: str) -> None:
    with pytest.raises(InvalidParam):
        found("GET", f"query/{segment}")


def test_static_segments_win_over_braces() -> None:
    assert found("PUT", "query/profile") == ("profile", {})


def test_braces_are_tried_where_static_segments_lead_nowhere() -> None:
    assert found("GET", "a/b/c") == ("deep", {"name": "b"})
    assert found("GET", "a/b/d") == ("static", {})


def test_braces_are_tried_where_static_segments_lack_the_method() -> None:
    assert found("GET", "query/profile") == ("query", {"name": "profile"})


def test_a_known_path_tells_its_methods() -> None:
    wrong = ROUTER.match("DELETE", "/_matrix/client/v3/rooms/!a:b/state/m.x/y")
    assert wrong == WrongMethod(("GET", "HEAD", "OPTIONS", "PUT"))


def test_methods_of_all_paths_that_fit_are_told() -> None:
    wrong = ROUTER.match("DELETE", "/_matrix/client/v3/query/profile")
    assert wrong == WrongMethod(("GET", "HEAD", "OPTIONS", "PUT"))


def test_a_path_without_get_tells_no_head() -> None:
    only_put = Router([(each, 1) for each in ENDPOINTS if each.operation == "client.profile"])
    wrong = only_put.match("GET", "/_matrix/client/v3/query/profile")
    assert wrong == WrongMethod(("OPTIONS", "PUT"))


def test_head_is_answered_like_get() -> None:
    assert found("HEAD", "rooms/!a:b")[0] == "room"


@pytest.mark.parametrize("path", ["", "*", "/", "//", "/_matrix", "/_matrix/client/v3/", "?"])
def test_other_paths_are_unknown(path: str) -> None:
    assert ROUTER.match("GET", path) is None


def test_a_trailing_slash_is_part_of_a_static_path() -> None:
    assert found("GET", "pushrules/")[0] == "rules"
    assert ROUTER.match("GET", "/_matrix/client/v3/pushrules") is None


def test_two_endpoints_cannot_claim_one_method_and_path() -> None:
    with pytest.raises(ValueError, match=r"client\.room"):
        Router(_twice(ENDPOINTS))


def _twice(endpoints: list[Endpoint]) -> list[tuple[Endpoint, int]]:
    room = next(each for each in endpoints if each.operation == "client.room")
    return [(room, 1), (room, 2)]
