"""What users set by hand, and who may. Spec: client-server-api/#presence"""

import pytest

from homeserver.config.sections.presence import PresenceSection
from homeserver.protocol.identifiers import UserID
from homeserver.services.presence_rules import MAX_STATUS_LENGTH
from homeserver.services.presence_sessions import GRACE_MS, IDLE_MS
from tests.support.client import answer_of, clients_of, quoted, refused
from tests.support.presence import (
    passes,
    presence_in,
    presence_server,
    reads_presence,
    sets_presence,
    settles,
    states_in,
)
from tests.support.reading import waiting_sync

IDLE, GRACE = IDLE_MS / 1000, GRACE_MS / 1000


async def test_a_choice_is_told_at_once(server, clock, alice, bob, room):
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    await sets_presence(bob, "unavailable", status_msg="In a meeting")
    told = presence_in(await alice.syncs(since, set_presence="offline"))[bob.user_id]
    assert told["presence"] == "unavailable"
    assert told["status_msg"] == "In a meeting"
    assert told["last_active_ago"] == 0
    clock.tick(7)
    assert await reads_presence(alice, bob) == {
        "presence": "unavailable",
        "status_msg": "In a meeting",
        "last_active_ago": 7_000,
        "currently_active": False,
    }
    assert await reads_presence(bob, bob) == await reads_presence(alice, bob)


async def test_unavailable_by_choice_lasts_over_syncs_until_the_next_activity(
    server, clock, alice, bob, room
):
    await bob.syncs()
    await settles(server)
    await sets_presence(bob, "unavailable")
    for _ in range(3):
        await bob.syncs(set_presence="online")
        await passes(server, clock, GRACE - 1)
        assert (await reads_presence(alice, bob))["presence"] == "unavailable"
    await bob.syncs()
    await bob.sends(room, "hello")
    await settles(server)
    assert (await reads_presence(alice, bob))["presence"] == "online"


async def test_hidden_by_choice_lasts_while_the_user_is_there(server, clock, alice, bob, room):
    await bob.syncs()
    await settles(server)
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    await sets_presence(bob, "offline")
    answer = await alice.syncs(since, set_presence="offline")
    assert states_in(answer) == {bob.user_id: "offline"}
    await bob.syncs()
    await bob.sends(room, "nobody sees me")
    await passes(server, clock, 10)
    assert (await reads_presence(alice, bob))["presence"] == "offline"
    assert "presence" not in await alice.syncs(answer["next_batch"], set_presence="offline")
    await passes(server, clock, GRACE)
    await bob.syncs()
    await settles(server)
    assert (await reads_presence(alice, bob))["presence"] == "online", "another day"


async def test_a_choice_without_a_sync_lasts_for_the_grace(server, clock, alice, bob, room):
    await sets_presence(bob, "online")
    assert (await reads_presence(alice, bob))["presence"] == "online"
    await passes(server, clock, GRACE)
    assert (await reads_presence(alice, bob))["presence"] == "offline"


async def test_the_status_message_stays_until_it_is_replaced(server, clock, alice, bob, room):
    await sets_presence(bob, "online", status_msg="ill")
    await bob.syncs()
    await passes(server, clock, GRACE)
    told = await reads_presence(alice, bob)
    assert (told["presence"], told["status_msg"]) == ("offline", "ill")
    await sets_presence(bob, "unavailable")
    assert (await reads_presence(alice, bob))["status_msg"] == "ill"
    await sets_presence(bob, "online", status_msg="well")
    assert (await reads_presence(alice, bob))["status_msg"] == "well"
    await sets_presence(bob, "online", status_msg="")
    assert "status_msg" not in await reads_presence(alice, bob)


async def test_suspended_users_are_offline(server, clock, alice, bob, room):
    await bob.syncs()
    await settles(server)
    since = (await bob.syncs())["next_batch"]
    async with waiting_sync(server, bob, since):
        await server.accounts.accounts.set_suspended(UserID(bob.user_id), is_suspended=True)
        await server.base.tail.poll()
        await server.base.tail.catch_up()
        await settles(server)
        assert (await reads_presence(alice, bob))["presence"] == "offline"
    await bob.syncs()
    await settles(server)
    assert (await reads_presence(alice, bob))["presence"] == "offline"
    with refused(403, "M_USER_SUSPENDED"):
        await sets_presence(bob, "online")


async def test_locked_users_are_offline(server, alice, bob, room):
    await bob.syncs()
    await settles(server)
    await server.accounts.accounts.set_locked(UserID(bob.user_id), is_locked=True)
    await server.base.tail.poll()
    await server.base.tail.catch_up()
    await settles(server)
    assert (await reads_presence(alice, bob))["presence"] == "offline"


BAD_BODIES = [
    ({}, (400, "M_MISSING_PARAM")),
    ([], (400, "M_BAD_JSON")),
    ({"status_msg": "without the state"}, (400, "M_MISSING_PARAM")),
    ({"presence": "busy"}, (400, "M_INVALID_PARAM")),
    ({"presence": ""}, (400, "M_INVALID_PARAM")),
    ({"presence": None}, (400, "M_BAD_JSON")),
    ({"presence": 1}, (400, "M_BAD_JSON")),
    ({"presence": ["online"]}, (400, "M_BAD_JSON")),
    ({"presence": "online", "status_msg": 7}, (400, "M_BAD_JSON")),
    ({"presence": "online", "status_msg": None}, (400, "M_BAD_JSON")),
    ({"presence": "online", "status_msg": "\0"}, (400, "M_INVALID_PARAM")),
    ({"presence": "online", "status_msg": "x" * (MAX_STATUS_LENGTH + 1)}, (400, "M_INVALID_PARAM")),
    ({"presence": "online", "status_msg": "x" * MAX_STATUS_LENGTH}, 200),
    ({"presence": "online", "last_active_ago": "ignored"}, 200),
]


@pytest.mark.parametrize(("body", "expected"), BAD_BODIES, ids=lambda value: repr(value)[:50])
async def test_a_body_is_checked(alice, body, expected):
    path = f"presence/{quoted(alice.user_id)}/status"
    assert await answer_of(alice.request("PUT", path, body)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"), [(b"", (400, "M_NOT_JSON")), (b"{", (400, "M_NOT_JSON"))]
)
async def test_a_body_is_json(alice, raw, expected):
    path = f"presence/{quoted(alice.user_id)}/status"
    assert await answer_of(alice.request("PUT", path, raw=raw)) == expected


@pytest.mark.parametrize(
    ("user_id", "reads", "writes"),
    [
        ("@bob:hs.example", (403, "M_FORBIDDEN"), (403, "M_FORBIDDEN")),
        ("@nobody:hs.example", (403, "M_FORBIDDEN"), (403, "M_FORBIDDEN")),
        ("@bob:elsewhere.example", (403, "M_FORBIDDEN"), (403, "M_FORBIDDEN")),
        ("bob", (400, "M_INVALID_PARAM"), (400, "M_INVALID_PARAM")),
        ("@" + "b" * 255 + ":hs.example", (400, "M_INVALID_PARAM"), (400, "M_INVALID_PARAM")),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_whose_presence_is_checked(alice, bob, user_id, reads, writes):
    path = f"presence/{quoted(user_id)}/status"
    assert await answer_of(alice.get(path)) == reads
    assert await answer_of(alice.put(path, {"presence": "online"})) == writes


@pytest.mark.parametrize("value", ["busy", "", "Online"])
async def test_an_unknown_state_of_a_sync_is_refused(alice, value):
    with refused(400, "M_INVALID_PARAM"):
        await alice.syncs(set_presence=value)


async def test_users_are_logged_in(clients, guest, alice):
    path = f"presence/{quoted(alice.user_id)}/status"
    nobody = clients.nobody()
    assert await answer_of(nobody.get(path)) == (401, "M_MISSING_TOKEN")
    assert await answer_of(nobody.put(path, {"presence": "online"})) == (401, "M_MISSING_TOKEN")
    own = f"presence/{quoted(guest.user_id)}/status"
    assert await answer_of(guest.put(own, {"presence": "online"})) == (
        403,
        "M_GUEST_ACCESS_FORBIDDEN",
    )


async def test_a_server_may_keep_no_presence(database_dsn, tmp_path, clock):
    off = PresenceSection(enabled=False)
    async with (
        presence_server(database_dsn, tmp_path, clock, presence=off) as server,
        clients_of(server.url) as clients,
    ):
        alice = await clients.user("alice")
        assert "presence" not in await alice.syncs()
        assert (await alice.get("initialSync"))["presence"] == []
        await settles(server)
        with refused(404, "M_NOT_FOUND"):
            await reads_presence(alice, alice)
        with refused(403, "M_FORBIDDEN"):
            await sets_presence(alice, "online")
        assert "presence" not in await alice.syncs()
