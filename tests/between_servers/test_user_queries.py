"""What servers ask each other about users, directories and keys, and scrolling back."""

from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from homeserver.config.sections.profiles import ProfilesSection
from homeserver.config.sections.room_directory import RoomDirectorySection
from tests.between_servers.conftest import RunServers
from tests.between_servers.test_joining import people
from tests.support.client import answer_of, quoted, refused
from tests.support.federation import NamedServer
from tests.support.peer_server import PeerServer, Script, hangs, never_ends, text

V1 = "/_matrix/federation/v1"
NOT_FOUND = {"errcode": "M_NOT_FOUND", "error": "no"}
FORBIDDEN = {"errcode": "M_FORBIDDEN", "error": "no"}


async def test_profiles_with_custom_fields_are_read_across(running_servers: RunServers) -> None:
    async with running_servers(2) as two, people(two, "alice", "bob") as [alice, bob]:
        await alice.put(f"profile/{quoted(alice.user_id)}/displayname", {"displayname": "Alice"})
        await alice.put(f"profile/{quoted(alice.user_id)}/m.tz", {"m.tz": "Europe/Athens"})
        whole = await bob.get(f"profile/{quoted(alice.user_id)}")
        assert whole == {"displayname": "Alice", "m.tz": "Europe/Athens"}
        assert await bob.get(f"profile/{quoted(alice.user_id)}/m.tz") == {"m.tz": "Europe/Athens"}
        with refused(404, "M_NOT_FOUND"):
            await bob.get(f"profile/{quoted(alice.user_id)}/avatar_url")
        with refused(404, "M_NOT_FOUND"):
            await bob.get(f"profile/{quoted('@nobody:' + two[0].name)}")


async def test_profiles_may_be_for_acquaintances_only(running_servers: RunServers) -> None:
    section = ProfilesSection(readable_by="acquaintances")
    async with (
        running_servers(2, profiles=section) as two,
        people(two, "alice", "bob") as [alice, bob],
    ):
        path = f"{V1}/query/profile?{urlencode({'user_id': alice.user_id})}"
        client = two[1].running.federation.client
        room_id = await alice.creates_room(preset="private_chat")
        with pytest.raises(Exception, match="403 M_FORBIDDEN"):
            await client.get(two[0].name, path)
        await alice.invites(room_id, bob)
        assert (await client.get(two[0].name, path))["displayname"] == "alice"


async def test_aliases_and_directories_are_read_across(running_servers: RunServers) -> None:
    async with running_servers(2) as two, people(two, "alice", "bob") as [alice, bob]:
        public = {"preset": "public_chat", "visibility": "public"}
        room_id = await alice.creates_room(**public, name="Open", room_alias_name="open")
        await alice.creates_room(
            **public, name="Own", creation_content={"m.federate": False}, room_alias_name="own"
        )
        alias = f"#open:{two[0].name}"
        found = await bob.get(f"directory/room/{quoted(alias)}")
        assert (found["room_id"], found["servers"][0]) == (room_id, two[0].name)
        with refused(404, "M_NOT_FOUND"):
            await bob.get(f"directory/room/{quoted(f'#shut:{two[0].name}')}")
        page = await bob.get("publicRooms", server=two[0].name)
        assert [each["room_id"] for each in page["chunk"]] == [room_id]
        query = {"filter": {"generic_search_term": "nothing like it"}}
        assert (await bob.post("publicRooms", query, server=two[0].name))["chunk"] == []
        with refused(400, "M_INVALID_PARAM"):
            await bob.get("publicRooms", server=two[0].name, since="x")


async def test_the_directory_may_be_closed_to_other_servers(running_servers: RunServers) -> None:
    section = RoomDirectorySection(over_federation=False)
    async with (
        running_servers(2, room_directory=section) as two,
        people(two, "alice", "bob") as [_, bob],
    ):
        with refused(403, "M_FORBIDDEN"):
            await bob.get("publicRooms", server=two[0].name)


async def test_a_space_elsewhere_is_walked_through(running_servers: RunServers) -> None:
    async with running_servers(2) as two, people(two, "alice", "bob") as [alice, bob]:
        space = await alice.creates_room(
            preset="public_chat", creation_content={"type": "m.space"}, room_version="11"
        )
        children = [await alice.creates_room(preset=preset, room_version="11")
                    for preset in ("public_chat", "private_chat")]  # fmt: skip
        for child in children:
            await alice.sets(space, "m.space.child", {"via": [two[0].name]}, child)
        tree = await bob.get(f"/_matrix/client/v1/rooms/{quoted(space)}/hierarchy")
        assert [each["room_id"] for each in tree["rooms"]] == [space, children[0]]


async def test_openid_tokens_are_exchanged_once_they_are_known(running_servers: RunServers) -> None:
    async with running_servers(1) as [server], people([server], "alice") as [alice]:
        path = f"user/{quoted(alice.user_id)}/openid/request_token"
        token = (await alice.post(path))["access_token"]

        async def whose(**query: str) -> Any:
            url = f"{server.url}{V1}/openid/userinfo?{urlencode(query)}"
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                answer = await response.json()
                return answer if response.status == 200 else (response.status, answer["errcode"])

        assert await whose(access_token=token) == {"sub": alice.user_id}
        assert await whose(access_token="x") == (401, "M_UNKNOWN_TOKEN")
        assert await whose(access_token=alice.access_token or "") == (401, "M_UNKNOWN_TOKEN")
        assert await whose() == (401, "M_MISSING_TOKEN")


async def test_users_of_others_are_not_answered_for(server: NamedServer, peer: PeerServer) -> None:
    ask = {"device_keys": {f"@eve:{peer.name}": []}}
    reply = await peer.sends(server.name, "POST", f"{V1}/user/keys/query", ask)
    assert (reply.status, reply.json["device_keys"]) == (200, {})
    claim = {"one_time_keys": {f"@eve:{peer.name}": {"A": "signed_curve25519"}}}
    reply = await peer.sends(server.name, "POST", f"{V1}/user/keys/claim", claim)
    assert (reply.status, reply.json) == (200, {"one_time_keys": {}})
    reply = await peer.sends(server.name, "GET", f"{V1}/user/devices/@eve:{peer.name}")
    assert reply.errcode == (404, "M_NOT_FOUND")
    reply = await peer.sends(server.name, "GET", f"{V1}/query/profile?user_id=@eve:{peer.name}")
    assert reply.errcode == (400, "M_INVALID_PARAM")
    reply = await peer.sends(server.name, "GET", f"{V1}/query/weather?where=here")
    assert reply.errcode == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"displayname": None}, (404, "M_NOT_FOUND")),
        ({"avatar_url": "mxc://a/b"}, (404, "M_NOT_FOUND")),
        (text("no json"), (502, "M_UNKNOWN")),
        (text("[]"), (502, "M_UNKNOWN")),
        (text(str(NOT_FOUND).replace("'", '"'), 404), (404, "M_NOT_FOUND")),
        (text(str(FORBIDDEN).replace("'", '"'), 403), (403, "M_FORBIDDEN")),
        (never_ends, (502, "M_UNKNOWN")),
    ],
)
async def test_strange_profiles_are_none(
    server: NamedServer, peer: PeerServer, answer: dict[str, Any] | Script, outcome: Any
) -> None:
    peer.answers("GET", f"{V1}/query/profile", answer)
    async with people([server], "alice") as [alice]:
        asked = alice.get(f"profile/{quoted('@eve:' + peer.name)}/displayname")
        assert await answer_of(asked) == outcome


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"room_id": "!a:b.example", "servers": ["x y", 5, "b.example"]}, 200),
        ({"room_id": "!a:b.example", "servers": []}, 200),
        ({"room_id": "!a:b.example", "servers": None}, (502, "M_UNKNOWN")),
        ({"room_id": "a", "servers": []}, (502, "M_UNKNOWN")),
        ({"room_id": 5, "servers": []}, (502, "M_UNKNOWN")),
        ({"servers": []}, (502, "M_UNKNOWN")),
        ({"room_id": "!a:b.example", "servers": ["a"] * 10_001}, (502, "M_UNKNOWN")),
    ],
)
async def test_strange_aliases_lead_nowhere(
    server: NamedServer, peer: PeerServer, answer: dict[str, Any], outcome: Any
) -> None:
    peer.answers("GET", f"{V1}/query/directory", answer)
    async with people([server], "alice") as [alice]:
        asked = alice.get(f"directory/room/{quoted('#a:' + peer.name)}")
        assert await answer_of(asked) == outcome


async def test_key_queries_do_not_wait_for_who_does_not_answer(
    server: NamedServer, peer: PeerServer
) -> None:
    peer.answers("POST", f"{V1}/user/keys/query", hangs)
    async with people([server], "alice") as [alice]:
        wanted = {"device_keys": {f"@eve:{peer.name}": [], alice.user_id: []}, "timeout": 50}
        answer = await alice.post("keys/query", wanted)
        assert list(answer["failures"]) == [peer.name]
        assert list(answer["device_keys"]) == [alice.user_id]


async def test_who_joins_can_scroll_back_to_the_beginning(running_servers: RunServers) -> None:
    async with running_servers(2) as two, people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="public_chat")
        sent = [await alice.sends(room_id, f"message {number}") for number in range(30)]
        await bob.post(f"join/{quoted(room_id)}", {}, via=two[0].name)
        # Who loads all members is shown the room when they are known.
        await bob.reads_members(room_id)
        synced = (await bob.syncs())["rooms"]["join"][room_id]["timeline"]
        events, start = synced["events"][::-1], synced["prev_batch"]
        while start is not None:
            page = await bob.reads_messages(room_id, from_=start, limit=10)
            events += page["chunk"]
            start = page.get("end")
        ids = [each["event_id"] for each in events]
        assert len(ids) == len(set(ids))
        assert [each for each in ids if each in sent] == sent[::-1]
        assert events[-1]["type"] == "m.room.create"
        around = await bob.reads_context(room_id, sent[10], limit=4)
        assert [each["event_id"] for each in around["events_before"]] == [sent[9], sent[8]]


async def test_jumping_to_a_date_before_the_join(running_servers: RunServers) -> None:
    async with running_servers(2) as two, people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="public_chat")
        sent = [await alice.sends(room_id, f"message {number}") for number in range(5)]
        ts = (await alice.reads_event(room_id, sent[2]))["origin_server_ts"]
        await bob.post(f"join/{quoted(room_id)}", {}, via=two[0].name)
        path = f"/_matrix/client/v1/rooms/{quoted(room_id)}/timestamp_to_event"
        found = await bob.get(path, ts=ts, dir="f")
        assert found["origin_server_ts"] == ts
        assert (await bob.reads_event(room_id, found["event_id"]))["origin_server_ts"] == ts
