"""What users tell everybody about themselves. Spec: client-server-api/#profiles"""

import asyncio
import json

import pytest

from homeserver.protocol.identifiers import UserID
from tests.support.client import answer_of, quoted, refused

AVATAR = "mxc://hs.example/SEsfnsuifSDFSSEF"
# The rooms are told after the answer.
ATTEMPTS = 500


async def sets(client, name, value):
    path = f"profile/{quoted(client.user_id, name)}"
    assert await client.put(path, {name: value}) == {}


async def deletes(client, name):
    assert await client.delete(f"profile/{quoted(client.user_id, name)}") == {}


async def reads(client, other=None, name=None):
    """Return a whole profile, or one field of it; one's own unless another user is given."""
    segments = [(other or client).user_id, *([] if name is None else [name])]
    return await client.get(f"profile/{quoted(*segments)}")


async def member_content(client, room, member):
    return await client.reads_state(room, "m.room.member", member.user_id)


async def eventually(read, expected):
    """Read until what is expected is there."""
    found = None
    for _ in range(ATTEMPTS):
        found = await read()
        if found == expected:
            return
    assert found == expected


async def is_told(client, room, member, **fields):
    expected = {"membership": "join", **fields}
    await eventually(lambda: member_content(client, room, member), expected)


@pytest.fixture
def suspend(server):
    async def suspend(client):
        await server.accounts.accounts.set_suspended(UserID(client.user_id), is_suspended=True)

    return suspend


# Reading and writing


async def test_a_new_user_has_the_localpart_as_name_and_a_guest_has_none(alice, guest):
    assert await reads(alice) == {"displayname": "alice"}
    assert await reads(guest) == {}


async def test_fields_are_read_together_or_one_by_one(alice, bob):
    custom = {"a": [1, 0.5, None, {"ü": "\u0000"}]}
    await sets(alice, "displayname", "Alice Wonderland ✨")
    await sets(alice, "avatar_url", AVATAR)
    await sets(alice, "m.tz", "Europe/London")
    await sets(alice, "org.example.job-title", custom)
    expected = {
        "displayname": "Alice Wonderland ✨",
        "avatar_url": AVATAR,
        "m.tz": "Europe/London",
        "org.example.job-title": custom,
    }
    assert await reads(bob, alice) == expected
    for name, value in expected.items():
        assert await reads(bob, alice, name) == {name: value}


async def test_a_field_takes_a_new_value(alice):
    for value in ("Al", "Ally", 'A "quoted" \\ name', "Al"):
        await sets(alice, "displayname", value)
        assert await reads(alice) == {"displayname": value}


@pytest.mark.parametrize("value", [None, "", 0, 1e300, False, [], {}, "text", {"a": {"b": []}}])
async def test_a_custom_field_takes_any_json(alice, value):
    await sets(alice, "org.example.field", value)
    assert await reads(alice, name="org.example.field") == {"org.example.field": value}
    assert await reads(alice) == {"displayname": "alice", "org.example.field": value}


async def test_everybody_may_read_profiles(clients, alice, guest):
    for reader in (clients.nobody(), guest):
        assert await reads(reader, alice) == {"displayname": "alice"}
        assert await reads(reader, alice, "displayname") == {"displayname": "alice"}


async def test_a_token_that_is_wrong_is_refused_even_where_none_is_needed(clients, alice):
    nobody = clients.nobody()
    nobody.access_token = "wrong"
    with refused(401, "M_UNKNOWN_TOKEN"):
        await reads(nobody, alice)


async def test_what_is_not_set_is_not_found(alice):
    for name in ("avatar_url", "m.tz", "org.example.field"):
        with refused(404, "M_NOT_FOUND"):
            await reads(alice, name=name)


@pytest.mark.parametrize("user_id", ["@nobody:hs.example", "@alice:elsewhere.example"])
async def test_users_who_are_not_known_are_not_found(clients, alice, user_id):
    nobody = clients.nobody()
    nobody.user_id = user_id
    with refused(404, "M_NOT_FOUND"):
        await reads(alice, nobody)
    with refused(404, "M_NOT_FOUND"):
        await reads(alice, nobody, "displayname")


@pytest.mark.parametrize("user_id", ["alice", "@alice", "!room:hs.example", "@a\0:hs.example"])
async def test_what_is_no_user_id_is_refused(alice, user_id):
    with refused(400, "M_INVALID_PARAM"):
        await alice.get(f"profile/{quoted(user_id)}")
    with refused(400, "M_INVALID_PARAM"):
        await alice.put(f"profile/{quoted(user_id, 'displayname')}", {"displayname": "x"})


async def test_a_deleted_field_is_gone_and_deleting_again_is_no_error(alice):
    for name in ("displayname", "avatar_url", "org.example.field"):
        await sets(alice, name, AVATAR)
        for _ in range(2):
            await deletes(alice, name)
            with refused(404, "M_NOT_FOUND"):
                await reads(alice, name=name)
    assert await reads(alice) == {}


@pytest.mark.parametrize("name", ["displayname", "avatar_url"])
async def test_an_empty_name_or_avatar_removes_it(alice, name):
    await sets(alice, name, AVATAR)
    await sets(alice, name, "")
    with refused(404, "M_NOT_FOUND"):
        await reads(alice, name=name)


async def test_the_unstable_paths_are_answered_too(alice):
    path = f"/_matrix/client/unstable/uk.tcpip.msc4133/profile/{quoted(alice.user_id)}"
    await alice.put(f"{path}/us.cloke.msc4175.tz", {"us.cloke.msc4175.tz": "Europe/Berlin"})
    expected = {"displayname": "alice", "us.cloke.msc4175.tz": "Europe/Berlin"}
    assert await alice.get(path) == expected
    await alice.delete(f"{path}/displayname")
    assert await alice.get(f"{path}/us.cloke.msc4175.tz") == {
        "us.cloke.msc4175.tz": "Europe/Berlin"
    }
    assert await reads(alice) == {"us.cloke.msc4175.tz": "Europe/Berlin"}


# Who may


async def test_profiles_of_others_cannot_be_changed(alice, bob, clients):
    elsewhere = clients.nobody()
    elsewhere.user_id = "@alice:elsewhere.example"
    for other in (bob, elsewhere):
        path = f"profile/{quoted(other.user_id, 'displayname')}"
        with refused(403, "M_FORBIDDEN"):
            await alice.put(path, {"displayname": "mine"})
        with refused(403, "M_FORBIDDEN"):
            await alice.delete(path)
    assert await reads(bob) == {"displayname": "bob"}


async def test_changes_need_an_access_token(clients, alice):
    nobody = clients.nobody()
    nobody.user_id = alice.user_id
    with refused(401, "M_MISSING_TOKEN"):
        await sets(nobody, "displayname", "x")
    with refused(401, "M_MISSING_TOKEN"):
        await deletes(nobody, "displayname")


async def test_guests_change_their_display_name_and_nothing_else(guest):
    await sets(guest, "displayname", "A guest")
    assert await reads(guest) == {"displayname": "A guest"}
    await deletes(guest, "displayname")
    for name, value in (("avatar_url", AVATAR), ("m.tz", "UTC"), ("org.example.field", 1)):
        with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
            await sets(guest, name, value)
        with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
            await deletes(guest, name)
    assert await reads(guest) == {}


async def test_suspended_users_do_not_change_their_profile(alice, suspend):
    await suspend(alice)
    for name in ("displayname", "org.example.field"):
        with refused(403, "M_USER_SUSPENDED"):
            await sets(alice, name, "x")
        with refused(403, "M_USER_SUSPENDED"):
            await deletes(alice, name)
    assert await reads(alice) == {"displayname": "alice"}


async def test_capabilities_tell_what_can_be_changed(alice, guest):
    for client, expected in (
        (alice, {"enabled": True}),
        (guest, {"enabled": True, "allowed": ["displayname"]}),
    ):
        told = (await client.get("capabilities"))["capabilities"]
        assert told["m.profile_fields"] == expected
        assert told["uk.tcpip.msc4133.profile_fields"] == expected


# Limits and bad input


@pytest.mark.parametrize("name", ["a", "m.new_field", "org.example", "a.b-c_d.1", "a" * 255])
async def test_names_follow_the_grammar_of_namespaced_identifiers(alice, name):
    await sets(alice, name, 1)
    assert await reads(alice, name=name) == {name: 1}


@pytest.mark.parametrize(
    ("name", "errcode"),
    [
        ("", "M_INVALID_PARAM"),
        ("1a", "M_INVALID_PARAM"),
        (".a", "M_INVALID_PARAM"),
        ("displayName", "M_INVALID_PARAM"),
        ("org.example/x", "M_INVALID_PARAM"),
        ("a\n", "M_INVALID_PARAM"),
        ("a\0", "M_INVALID_PARAM"),
        ("é", "M_INVALID_PARAM"),
        ("a" * 256, "M_KEY_TOO_LARGE"),
        ("a" + "é" * 128, "M_KEY_TOO_LARGE"),
    ],
)
async def test_other_names_are_refused(alice, name, errcode):
    with refused(400, errcode):
        await sets(alice, name, 1)
    with refused(400, errcode):
        await deletes(alice, name)
    with refused(400, errcode):
        await reads(alice, name=name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("displayname", None),
        ("displayname", 5),
        ("displayname", ["Al"]),
        ("displayname", "x" * 257),
        ("avatar_url", None),
        ("avatar_url", {}),
        ("avatar_url", "https://hs.example/a.png"),
        ("avatar_url", "mxc://"),
        ("avatar_url", "mxc://hs.example"),
        ("avatar_url", "mxc://hs.example/"),
        ("avatar_url", "mxc://hs.example/a/b"),
        ("avatar_url", "mxc://hs.example/a?b"),
        ("avatar_url", "mxc://not a server/a"),
        ("avatar_url", "mxc://hs.example/" + "a" * 1000),
        ("m.tz", None),
        ("m.tz", 1),
        ("m.tz", "x" * 256),
    ],
)
async def test_known_fields_have_values_of_their_kind(alice, name, value):
    with refused(400, "M_INVALID_PARAM"):
        await sets(alice, name, value)
    assert await reads(alice) == {"displayname": "alice"}


async def test_the_longest_name_will_do(alice):
    await sets(alice, "displayname", "é" * 256)
    assert await reads(alice) == {"displayname": "é" * 256}


async def test_the_content_has_to_have_the_field(alice):
    path = f"profile/{quoted(alice.user_id, 'displayname')}"
    for content in ({}, {"avatar_url": AVATAR}):
        with refused(400, "M_MISSING_PARAM"):
            await alice.put(path, content)
    await alice.put(path, {"displayname": "Al", "org.example.more": 1})
    assert await reads(alice) == {"displayname": "Al"}


@pytest.mark.parametrize(
    ("raw", "errcode"),
    [
        (b"", "M_NOT_JSON"),
        (b'{"displayname":', "M_NOT_JSON"),
        (b'{"displayname":"\xff"}', "M_NOT_JSON"),
        (b'{"displayname":"\\ud800"}', "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b'"displayname"', "M_BAD_JSON"),
    ],
)
async def test_the_content_is_a_json_object(alice, raw, errcode):
    with refused(400, errcode):
        await alice.request("PUT", f"profile/{quoted(alice.user_id, 'displayname')}", raw=raw)


async def test_numbers_and_depths_of_any_size_are_stored_or_refused(alice):
    path = f"profile/{quoted(alice.user_id, 'a.b')}"
    for raw in (b'{"a.b":' + b"9" * 5000 + b"}", b'{"a.b":' + b"[" * 700 + b"]" * 700 + b"}"):
        with refused(400, "M_NOT_JSON"):
            await alice.request("PUT", path, raw=raw)
    await alice.request("PUT", path, raw=b'{"a.b":12345678901234567890123}')
    deep = b"[" * 590 + b"]" * 590
    await alice.request("PUT", path, raw=b'{"a.b":' + deep + b"}")
    assert await reads(alice, name="a.b") == {"a.b": json.loads(deep)}


async def test_a_whole_profile_has_at_most_64_kib(alice):
    await deletes(alice, "displayname")
    await sets(alice, "org.example.b", "é")

    def filling(size):
        others = len('{"org.example.a":"","org.example.b":"é"}'.encode())
        return "x" * (size - others)

    with refused(400, "M_PROFILE_TOO_LARGE"):
        await sets(alice, "org.example.a", filling(64 * 1024 + 1))
    assert await reads(alice) == {"org.example.b": "é"}
    await sets(alice, "org.example.a", filling(64 * 1024))
    for name, value in (("displayname", "Al"), ("org.example.b", "éé")):
        with refused(400, "M_PROFILE_TOO_LARGE"):
            await sets(alice, name, value)
    await sets(alice, "org.example.b", "e")
    await deletes(alice, "org.example.a")
    await sets(alice, "displayname", "Al")
    assert await reads(alice) == {"displayname": "Al", "org.example.b": "e"}


# Rooms


async def test_rooms_are_told_of_a_new_name_and_avatar(alice, bob):
    rooms = [await bob.creates_room(preset="public_chat") for _ in range(12)]
    for room in rooms:
        await alice.joins(room)
    since = (await bob.syncs())["next_batch"]
    await sets(alice, "displayname", "Al")
    for room in rooms:
        await is_told(bob, room, alice, displayname="Al")
    await sets(alice, "avatar_url", AVATAR)
    for room in rooms:
        await is_told(bob, room, alice, displayname="Al", avatar_url=AVATAR)
    told = (await bob.syncs(since))["rooms"]["join"]
    assert {room: len(told[room]["timeline"]["events"]) for room in rooms} == dict.fromkeys(
        rooms, 2
    )
    await deletes(alice, "displayname")
    for room in rooms:
        await is_told(bob, room, alice, avatar_url=AVATAR)


async def test_only_joined_rooms_are_told(alice, bob):
    invited, left, joined = [await bob.creates_room(preset="public_chat") for _ in range(3)]
    await bob.invites(invited, alice)
    await alice.joins(left)
    await alice.leaves(left)
    await alice.joins(joined)
    await sets(alice, "displayname", "Al")
    await is_told(bob, joined, alice, displayname="Al")
    expected = {"membership": "invite", "displayname": "alice"}
    assert await member_content(bob, invited, alice) == expected
    assert (await member_content(bob, left, alice))["membership"] == "leave"


async def test_nothing_new_is_told_to_nobody(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    since = (await bob.syncs())["next_batch"]
    await sets(alice, "displayname", "alice")
    await sets(alice, "org.example.field", {"displayname": "x"})
    await deletes(alice, "avatar_url")
    # What comes later has been told: so would what came before.
    await sets(alice, "displayname", "Al")
    await is_told(bob, room, alice, displayname="Al")
    events = (await bob.syncs(since))["rooms"]["join"][room]["timeline"]["events"]
    assert [event["content"]["displayname"] for event in events] == ["Al"]


async def test_the_rest_of_the_membership_stays_but_for_what_explained_the_join(alice, bob):
    room = await bob.creates_room(preset="public_chat")
    await alice.joins(room, reason="I was told to come")
    await sets(alice, "displayname", "Al")
    await is_told(bob, room, alice, displayname="Al")
    content = {"membership": "join", "displayname": "Here only", "org.example.color": "red"}
    await alice.sets(room, "m.room.member", content, alice.user_id)
    await sets(alice, "displayname", "Ally")
    expected = {"displayname": "Ally", "org.example.color": "red"}
    await is_told(bob, room, alice, **expected)


async def test_a_restricted_room_is_told_without_asking_for_an_authority(alice, bob):
    space = await bob.creates_room(preset="public_chat")
    allow = [{"type": "m.room_membership", "room_id": space}]
    rules = {"join_rule": "restricted", "allow": allow}
    room = await bob.creates_room(
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rules}]
    )
    await alice.joins(space)
    await alice.joins(room)
    content = await member_content(bob, room, alice)
    assert content["join_authorised_via_users_server"] == bob.user_id
    await sets(alice, "displayname", "Al")
    await is_told(bob, room, alice, displayname="Al")


async def test_memberships_come_with_the_profile(alice, bob, carol):
    await sets(alice, "displayname", "Al")
    await sets(bob, "avatar_url", AVATAR)
    room = await alice.creates_room(preset="public_chat", invite=[carol.user_id])
    await bob.joins(room)
    await is_told(alice, room, alice, displayname="Al")
    await is_told(alice, room, bob, displayname="bob", avatar_url=AVATAR)
    assert (await member_content(alice, room, carol))["displayname"] == "carol"


async def test_the_user_directory_finds_the_new_name(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await sets(alice, "displayname", "Rumpelstiltskin")
    await sets(alice, "avatar_url", AVATAR)

    async def found():
        return (await bob.post("user_directory/search", {"search_term": "rumpel"}))["results"]

    user = {"user_id": alice.user_id, "display_name": "Rumpelstiltskin", "avatar_url": AVATAR}
    await eventually(found, [user])
    await is_told(alice, room, alice, displayname="Rumpelstiltskin", avatar_url=AVATAR)


async def test_a_deactivated_user_has_no_profile(alice, bob):
    room = await bob.creates_room(preset="public_chat")
    await alice.joins(room)
    await sets(alice, "org.example.field", 1)
    identifier = {"type": "m.id.user", "user": alice.user_id}
    auth = {"type": "m.login.password", "identifier": identifier, "password": "wordpass-1"}
    await alice.post("account/deactivate", {"auth": auth})
    for name in (None, "displayname", "org.example.field"):
        with refused(404, "M_NOT_FOUND"):
            await reads(bob, alice, name)
    await eventually(lambda: bob.reads_members(room, membership="join"), {bob.user_id: "join"})


async def test_changes_at_the_same_time_do_not_exceed_the_limit_together(alice):
    paths = [f"profile/{quoted(alice.user_id, f'org.example.{n}')}" for n in range(4)]
    puts = [alice.put(path, {f"org.example.{n}": "x" * 30_000}) for n, path in enumerate(paths)]
    answers = await asyncio.gather(*(answer_of(put) for put in puts))
    too_large = (400, "M_PROFILE_TOO_LARGE")
    assert sorted(answers, key=str) == [too_large, too_large, 200, 200]
