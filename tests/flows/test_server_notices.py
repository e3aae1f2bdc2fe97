"""Server notices. Spec: client-server-api/#server-notices"""

import asyncio
import hashlib
import hmac

import pytest

from homeserver.config.sections.registration import RegistrationSection
from homeserver.config.sections.server_notices import ServerNoticesSection
from homeserver.config.values import Secret
from homeserver.protocol.identifiers import UserID
from homeserver.run.moderation_routes import server_notices
from homeserver.services.operator_commands import proof_message
from tests.support.client import answer_of, clients_of, quoted, refused
from tests.support.server import SERVER_NAME, server_of

SECRET = "north by north west"
NONCE = "/_synapse/admin/v1/register"
ADMIN = "/_homeserver/admin/v1"
SENDER = f"@server-notices:{SERVER_NAME}"


@pytest.fixture
async def server(database_dsn, tmp_path):
    registration = RegistrationSection(without_verification=True, shared_secret=Secret(SECRET))
    async with server_of(database_dsn, tmp_path, registration=registration) as running:
        yield running


@pytest.fixture
async def clients(server):
    async with clients_of(server.url) as maker:
        yield maker


@pytest.fixture
async def operator(clients):
    return clients.nobody()


async def commands(operator, operation, command, secret=SECRET):
    nonce = (await operator.get(NONCE))["nonce"]
    message = proof_message(nonce, operation, command)
    mac = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    body = {"nonce": nonce, "mac": mac, "command": command}
    return await operator.post(f"{ADMIN}/{operation}", body)


async def invite(client):
    """Wait for an invite and return its room."""
    async with asyncio.timeout(60):
        answer = await client.syncs()
        while "invite" not in answer.get("rooms", {}):
            answer = await client.syncs(answer["next_batch"], timeout=5_000)
    (room,) = answer["rooms"]["invite"]
    return room


async def notices(client, room, count):
    """Wait for as many notices and return their texts, oldest first."""
    async with asyncio.timeout(60):
        # The node where the client has joined may have to hear of other changes first.
        answer = await client.syncs()
        while room not in answer.get("rooms", {}).get("join", {}):
            answer = await client.syncs(answer["next_batch"], timeout=5_000)
        while True:
            events = (await client.reads_messages(room, "f", limit=100))["chunk"]
            found = [each["content"] for each in events if each["type"] == "m.room.message"]
            if len(found) >= count:
                assert {each["msgtype"] for each in found} == {"m.server_notice"}
                assert all(each["server_notice_type"] for each in found)
                return [each["body"] for each in found]


async def test_a_notice_comes_in_a_room_of_its_own(alice, bob, operator):
    command = {"text": "Maintenance tonight", "to": [alice.user_id]}
    assert await commands(operator, "notices", command) == {"users": 1}
    room = await invite(alice)
    await alice.joins(room)
    assert await notices(alice, room, 1) == ["Maintenance tonight"]
    joined = (await alice.syncs())["rooms"]["join"][room]
    (tag,) = [each for each in joined["account_data"]["events"] if each["type"] == "m.tag"]
    assert "m.server_notice" in tag["content"]["tags"]
    assert await alice.reads_members(room) == {alice.user_id: "join", SENDER: "join"}
    assert (await alice.reads_state(room, "m.room.name"))["name"] == "Server notices"
    with refused(403, "M_FORBIDDEN"):
        await alice.sends(room, "thanks")
    assert "rooms" not in await bob.syncs()


async def test_every_user_has_one_room_for_all_notices(alice, bob, operator):
    assert await commands(operator, "notices", {"text": "one"}) == {"users": 2}
    room = await invite(alice)
    await commands(operator, "notices", {"text": "two"})
    await alice.joins(room)
    await commands(operator, "notices", {"text": "three", "to": [alice.user_id]})
    assert await notices(alice, room, 3) == ["one", "two", "three"]
    assert await invite(bob) != room


async def test_the_invite_cannot_be_rejected_but_the_room_left(alice, operator):
    await commands(operator, "notices", {"text": "hello", "to": [alice.user_id]})
    room = await invite(alice)
    with refused(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"):
        await alice.leaves(room)
    with refused(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"):
        await alice.sets(room, "m.room.member", {"membership": "leave"}, alice.user_id)
    await alice.joins(room)
    await alice.leaves(room)
    await commands(operator, "notices", {"text": "again", "to": [alice.user_id]})
    assert await invite(alice) == room


async def test_other_invites_can_be_rejected(alice, bob):
    room = await alice.creates_room(invite=[bob.user_id])
    await bob.leaves(room)
    assert (await alice.reads_members(room))[bob.user_id] == "leave"


async def test_blocking_invites_does_not_keep_notices_from_being_sent(alice, operator):
    blocks = f"user/{alice.user_id}/account_data/m.invite_permission_config"
    await alice.put(blocks, {"default_action": "block"})
    await commands(operator, "notices", {"text": "hello", "to": [alice.user_id]})
    await alice.put(blocks, {"default_action": "allow"})
    await alice.joins(await invite(alice))


async def test_two_nodes_make_one_room(server, clients, alice, database_dsn, tmp_path):
    async with server_of(database_dsn, tmp_path) as other:
        here = server_notices(server.base, server.rooms)
        there = server_notices(other.base, other.rooms)
        users = [UserID(alice.user_id)]
        await asyncio.gather(*(each.notify(users, "hi") for each in (here, there, here, there)))
        room = await invite(alice)
        await alice.joins(room)
        assert await notices(alice, room, 4) == ["hi"] * 4
        assert await alice.joined_rooms() == [room]


async def test_the_name_of_a_user_is_not_taken_for_notices(database_dsn, tmp_path):
    registration = RegistrationSection(without_verification=True, shared_secret=Secret(SECRET))
    settings = ServerNoticesSection(localpart="alice")
    async with (
        server_of(
            database_dsn, tmp_path, registration=registration, server_notices=settings
        ) as server,
        clients_of(server.url) as clients,
    ):
        alice = await clients.user("alice")
        command = {"text": "hello", "to": [alice.user_id]}
        with refused(400, "M_EXCLUSIVE"):
            await commands(clients.nobody(), "notices", command)


@pytest.mark.parametrize(
    ("operation", "command", "expected"),
    [
        ("notices", {}, (400, "M_BAD_JSON")),
        ("notices", {"text": ""}, (400, "M_BAD_JSON")),
        ("notices", {"text": "x" * 20_001}, (400, "M_BAD_JSON")),
        ("notices", {"text": 7}, (400, "M_BAD_JSON")),
        ("notices", {"text": "x", "to": ["bob"]}, (400, "M_INVALID_PARAM")),
        ("notices", {"text": "x", "to": [f"@no:{SERVER_NAME}"]}, (404, "M_NOT_FOUND")),
        ("notices", {"text": "x", "to": ["@a:elsewhere.example"]}, (404, "M_NOT_FOUND")),
        ("notices", {"text": "x", "to": ["@a\0:elsewhere.example"]}, (400, "M_INVALID_PARAM")),
        ("reports/list", {"first": "one"}, (400, "M_BAD_JSON")),
        ("reports/close", {}, (400, "M_BAD_JSON")),
        ("reports/list", {"first": -1}, (400, "M_BAD_JSON")),
    ],
)
async def test_bad_commands_are_refused(operator, operation, command, expected):
    assert await answer_of(commands(operator, operation, command)) == expected


async def test_commands_need_the_secret(operator, alice, server):
    wrong = commands(operator, "notices", {"text": "hello"}, "another secret")
    assert await answer_of(wrong) == (403, "M_FORBIDDEN")
    body = {"nonce": "made up", "mac": "", "command": {"text": "hello"}}
    assert await answer_of(operator.post(f"{ADMIN}/notices", body)) == (400, "M_INVALID_PARAM")
    # A proof of one command is none of another.
    nonce = (await operator.get(NONCE))["nonce"]
    message = proof_message(nonce, "reports/list", {"text": "hello"})
    mac = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
    body = {"nonce": nonce, "mac": mac, "command": {"text": "hello"}}
    assert await answer_of(operator.post(f"{ADMIN}/notices", body)) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("number", [2**70, 2**63, 1.5])
async def test_numbers_that_no_proof_covers_are_refused(operator, number):
    nonce = (await operator.get(NONCE))["nonce"]
    body = {"nonce": nonce, "mac": "00", "command": {"reports": [number]}}
    asked = operator.post(f"{ADMIN}/reports/close", body)
    assert await answer_of(asked) == (400, "M_BAD_JSON")


async def test_reports_are_listed_and_closed(operator, alice, bob):
    room = await alice.creates_room()
    await bob.post(f"rooms/{quoted(room)}/report", {"reason": "spam"})
    (report,) = (await commands(operator, "reports/list", {}))["reports"]
    assert (report["reporter"], report["room_id"]) == (bob.user_id, room)
    assert (report["reason"], report["event_id"], report["closed_ts"]) == ("spam", None, None)
    closing = {"reports": [report["report"], 12345]}
    assert await commands(operator, "reports/close", closing) == {"closed": [report["report"]]}
    assert await commands(operator, "reports/list", {}) == {"reports": []}
    (closed,) = (await commands(operator, "reports/list", {"with_closed": True}))["reports"]
    assert closed["closed_ts"] is not None
