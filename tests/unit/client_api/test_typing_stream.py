"""Whatever happens to typing, a client knows it from its tokens alone."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from client_api.sync.request import SyncContext, SyncRequest
from client_api.sync.typing_stream import TypingStream, typing_told
from homeserver.protocol.filters import CompiledFilter, parse_filter
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.sync_token import MAX_TYPING, SyncToken, parse_sync_token
from homeserver.rooms.client_events import Viewer
from homeserver.storage.memberships import MembershipRow
from homeserver.web.requester import Requester

ALICE = UserID("@alice:hs")
USERS = [UserID(f"@u{n}:hs") for n in range(3)]


class Users:
    """Who types, as a test says."""

    def __init__(self) -> None:
        self.rooms: Mapping[int, tuple[UserID, ...]] = {}
        self.serial = 0


class TypingClient:
    """Believes what it is told, and brings its token again."""

    def __init__(self, rooms: int) -> None:
        self.users = Users()
        self.known: dict[int, list[str]] = {}
        self._stream = TypingStream(self.users)  # type: ignore[arg-type]
        self._token: str | None = None
        self._memberships = {
            nid: MembershipRow(nid, RoomID(f"!{nid}:hs"), "join", 1, ALICE, 1, False, None)
            for nid in range(1, rooms + 1)
        }

    def leaves(self, room_nid: int) -> None:
        self._memberships[room_nid] = self._memberships[room_nid]._replace(membership="leave")

    def syncs(self, *, chosen: Any = None, whole: frozenset[int] = frozenset()) -> dict[int, Any]:
        """Take one answer and return what was told."""
        since = parse_sync_token(self._token) if self._token else None
        request = SyncRequest(
            requester=Requester(user_id=ALICE),
            filter=CompiledFilter(parse_filter(chosen or {})),
            since=since.position if since else None,
            typing_told=dict(since.typing) if since else {},
        )
        typing = self._stream.told_in(request, self._memberships)
        viewer = Viewer(ALICE, None, 0)
        context = SyncContext(request, viewer, 5, self._memberships, typing=typing)
        joined = {n for n, row in self._memberships.items() if row.membership == "join"}
        found = asyncio.run(self._stream.of_rooms(context, whole, joined - whole))
        self._token = str(SyncToken(5, typing_told(context)))
        told = {nid: json.loads(events[0])["content"]["user_ids"] for nid, events in found.items()}
        self.known |= told
        return told

    def busy(self) -> dict[int, list[str]]:
        return {room_nid: users for room_nid, users in self.known.items() if users}


def truth(rooms: Mapping[int, tuple[UserID, ...]]) -> dict[int, list[str]]:
    return {room_nid: [*users] for room_nid, users in rooms.items()}


lists = st.lists(st.sampled_from(USERS), min_size=1, unique=True).map(tuple)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.integers(1, 5), lists), max_size=10))
def test_a_client_always_knows_who_types(states):
    client = TypingClient(rooms=5)
    for rooms in states:
        before = dict(client.known)
        client.users.rooms = rooms
        told = client.syncs()
        assert client.busy() == truth(rooms)
        assert all(before.get(nid, []) != users for nid, users in told.items()), "told for nothing"
        assert client.syncs() == {}


def test_more_rooms_than_a_token_names_are_told_one_after_the_other():
    client = TypingClient(rooms=MAX_TYPING + 5)
    everywhere = dict.fromkeys(range(1, MAX_TYPING + 6), (USERS[0],))
    client.users.rooms = everywhere
    first = client.syncs()
    assert len(first) == MAX_TYPING
    assert client.syncs() == {}
    client.users.rooms = {nid: users for nid, users in everywhere.items() if nid not in first}
    assert {nid for nid, users in client.syncs().items() if users} == everywhere.keys() - first
    assert client.busy() == truth(client.users.rooms)


def test_a_room_that_is_told_whole_has_its_list_again():
    client = TypingClient(rooms=1)
    client.users.rooms = {1: (USERS[0],)}
    client.syncs()
    assert client.syncs(whole=frozenset({1})) == {1: [USERS[0]]}
    client.users.rooms = {}
    assert client.syncs(whole=frozenset({1})) == {1: []}
    assert client.syncs(whole=frozenset({1})) == {}


def test_rooms_that_were_left_and_rooms_of_others_are_not_told():
    client = TypingClient(rooms=2)
    client.users.rooms = {1: (USERS[0],), 7: (USERS[0],)}
    assert client.syncs() == {1: [USERS[0]]}
    client.leaves(1)
    client.users.rooms = {1: (USERS[1],)}
    assert client.syncs() == {}


NO_TYPING = {"room": {"ephemeral": {"not_types": ["m.typing"]}}}


def test_who_does_not_want_to_hear_of_typing_for_a_while_is_told_afterwards():
    client = TypingClient(rooms=2)
    client.users.rooms = {1: (USERS[0],)}
    client.syncs()
    client.users.rooms = {2: (USERS[0],)}
    assert client.syncs(chosen=NO_TYPING) == {}
    assert client.syncs(chosen={"room": {"ephemeral": {"not_rooms": ["!1:hs"]}}}) == {2: [USERS[0]]}
    assert client.syncs(chosen={"room": {"not_rooms": ["!2:hs"]}}) == {1: []}
    assert client.syncs() == {}
    assert client.busy() == truth(client.users.rooms)


def test_what_is_kept_back_counts_among_what_a_token_names():
    client = TypingClient(rooms=MAX_TYPING + 5)
    client.users.rooms = dict.fromkeys(range(1, MAX_TYPING + 1), (USERS[0],))
    client.syncs()
    client.users.rooms = dict.fromkeys(range(1, MAX_TYPING + 6), (USERS[0],))
    assert client.syncs(chosen={"room": {"not_rooms": ["!1:hs"]}}) == {}
    assert client.syncs() == {}
