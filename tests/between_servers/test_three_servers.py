"""One room across three servers of ours: separate processes that find each other over TLS."""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.clients.encrypted import EncryptedClient, encrypted_clients
from tests.support.certificates import Authority
from tests.support.client import Client, clients_of, quoted, refused
from tests.support.federation import process_settings
from tests.support.key_uploads import uploads_keys
from tests.support.postgres import TestCluster
from tests.support.presence import sets_presence
from tests.support.processes import ServerProcess, free_port, server_processes
from tests.support.reading import marks_read
from tests.support.to_device import logs_in_again, sends_to_device
from tests.support.watching import PATIENCE_SECONDS, Watcher, agreement, history_of

PUBLIC: dict[str, Any] = {"preset": "public_chat"}
# Who is a user of which server, by the names' order.
NAMES = ("alice", "bob", "carol")

_numbers = itertools.count()


class Server:
    """A process, and the name that other servers know it by."""

    def __init__(self, process: ServerProcess, name: str) -> None:
        self.process = process
        self.name = name

    def alias(self, localpart: str) -> str:
        return f"#{localpart}:{self.name}"


@pytest.fixture(scope="module")
def servers(
    authority: Authority,
    postgres: TestCluster,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Server]]:
    """Three servers for all tests here: to start them costs seconds."""
    folder = tmp_path_factory.mktemp("three")
    names = [f"test_{uuid.uuid4().hex}" for _ in NAMES]
    with server_processes() as make:
        made = []
        for name in names:
            port = free_port()
            dsn = postgres.create(name, template_database)
            settings = process_settings(authority, dsn, port)
            process = make(folder / name, settings, port=port)
            process.begin_start()
            made.append(Server(process, settings["SERVER_NAME"]))
        for each in made:
            each.process.wait_until_ready()
        yield made
    for name in names:
        postgres.drop(name)


@contextlib.asynccontextmanager
async def watchers(servers: list[Server], *names: str) -> AsyncIterator[list[Watcher]]:
    """New users, the first one of the first server and so on, who watch."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for server, name in zip(itertools.cycle(servers), names or NAMES, strict=False):
            maker = await stack.enter_async_context(clients_of(server.process.url))
            user = await maker.user(f"{name}{next(_numbers)}")
            found.append(Watcher(user))
        yield found


async def together(*actions: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*actions)


async def all_read(watching: list[Watcher], room_id: str, *bodies: str) -> None:
    await together(*(each.reads(room_id, *bodies) for each in watching))


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_room_of_every_version_is_lived_in(servers: list[Server], version: str) -> None:
    async with watchers(servers, "alice", "bob", "carol", "anna", "ben", "cleo") as everybody:
        alice, bob, carol, _, ben, cleo = (each.client for each in everybody)
        watching = everybody[:3]
        hall = f"hall{version}"
        room_id = await alice.creates_room(
            **PUBLIC, room_version=version, name="Hall", room_alias_name=hall
        )
        await alice.sends(room_id, "before all others")

        # They come by alias, by invite, and by a server that did not make the room.
        assert await bob.joins(servers[0].alias(hall)) == room_id
        await alice.invites(room_id, carol)
        await everybody[2].until(lambda w: room_id in w.invited)
        await carol.joins(room_id)
        await cleo.post(f"join/{quoted(room_id)}", {}, via=servers[1].name)
        for each in (*watching, everybody[5]):
            await each.until(lambda w: room_id in w.joined)

        # All talk at once.
        said = [f"{n} of {each.user_id}" for n in range(3) for each in (alice, bob, carol)]
        users = {each.user_id: each for each in (alice, bob, carol)}
        await together(*(users[body.rpartition(" ")[2]].sends(room_id, body) for body in said))
        await all_read(watching, room_id, *said)

        # State, changed by users of two servers.
        await alice.sets(room_id, "m.room.name", {"name": "Great hall"})
        levels = await alice.reads_state(room_id, "m.room.power_levels")
        levels["users"][bob.user_id] = 50
        promoted = await alice.sets(room_id, "m.room.power_levels", levels)
        await everybody[1].until(lambda w: promoted in w.events[room_id])
        await bob.sets(room_id, "m.room.topic", {"topic": "by bob"})

        # Kicked, back, banned.
        await bob.kicks(room_id, cleo)
        await everybody[5].until(lambda w: room_id in w.left)
        await cleo.post(f"join/{quoted(room_id)}", {}, via=servers[0].name)
        await everybody[5].until(lambda w: room_id in w.joined)
        cleo_is_back = await cleo.sends(room_id, "back again")
        await everybody[1].reads(room_id, "back again")
        await bob.bans(room_id, cleo)
        await everybody[5].until(lambda w: room_id in w.left)
        with refused(403, "M_FORBIDDEN"):
            await cleo.post(f"join/{quoted(room_id)}", {}, via=servers[0].name)

        # Redacted by its sender, and by who may.
        mistake = await carol.sends(room_id, "a mistake")
        redaction = await carol.redacts(room_id, mistake)
        other = await bob.redacts(room_id, cleo_is_back)
        for each in watching:
            await each.until(lambda w: {redaction, other} <= w.events[room_id].keys())

        # Left, of the user's own will.
        await ben.joins(room_id)
        await ben.leaves(room_id)
        await alice.sends(room_id, "the end")
        await all_read(watching, room_id, "the end")

        history = await agreement(watching, room_id)
        assert history[mistake]["content"] == history[cleo_is_back]["content"] == {}
        members = await carol.reads_members(room_id)
        assert members == {
            **dict.fromkeys((alice.user_id, bob.user_id, carol.user_id), "join"),
            cleo.user_id: "ban",
            ben.user_id: "leave",
        }
        assert (await carol.reads_state(room_id, "m.room.topic"))["topic"] == "by bob"
        assert {each["content"].get("body") for each in history.values()} >= {*said, "the end"}


async def test_what_is_not_in_the_room_crosses(servers: list[Server]) -> None:
    async with watchers(servers) as watching:
        alice, bob, carol = (each.client for each in watching)
        room_id = await alice.creates_room(**PUBLIC)
        for user in (bob, carol):
            await user.post(f"join/{quoted(room_id)}", {}, via=servers[0].name)
        event_id = await alice.sends(room_id, "read this")
        await all_read(watching, room_id, "read this")

        # Receipts and typing.
        await marks_read(bob, room_id, event_id)
        typing = f"rooms/{quoted(room_id)}/typing/{quoted(carol.user_id)}"
        await carol.put(typing, {"typing": True, "timeout": 20_000})
        for each in (watching[0], watching[2]):
            await each.until(lambda w: w.receipts[room_id].get(bob.user_id) == event_id)
        for each in watching[:2]:
            await each.until(lambda w: [carol.user_id] in w.typing[room_id])
        await carol.put(typing, {"typing": False})
        for each in watching[:2]:
            await each.until(lambda w: w.typing[room_id][-1] == [])

        # Presence.
        await sets_presence(alice, "online", status_msg="writing tests")
        for each in watching[1:]:
            await each.until(
                lambda w: w.presence.get(alice.user_id, {}).get("status_msg") == "writing tests"
            )

        # Profiles.
        await alice.put(f"profile/{alice.user_id}/displayname", {"displayname": "Alice A."})
        assert await carol.get(f"profile/{quoted(alice.user_id)}") == {"displayname": "Alice A."}
        member = ("m.room.member", alice.user_id)
        await watching[1].until(
            lambda w: any(
                (each["type"], each.get("state_key")) == member
                and each["content"].get("displayname") == "Alice A."
                for each in w.events[room_id].values()
            )
        )

        # Messages to devices.
        await sends_to_device(alice, {bob.user_id: {bob.device_id: {"to": "one"}}})
        await sends_to_device(alice, {carol.user_id: {"*": {"to": "all"}}})
        await watching[1].until(lambda w: w.to_device)
        await watching[2].until(lambda w: w.to_device)
        told = [watching[n].to_device for n in (1, 2)]
        assert told == [
            [{"type": "m.dummy", "sender": alice.user_id, "content": {"to": to}}]
            for to in ("one", "all")
        ]
        await agreement(watching, room_id)


async def test_devices_and_keys_are_known_across(servers: list[Server]) -> None:
    async with watchers(servers) as watching, clients_of(servers[0].process.url) as at_first:
        alice, bob, carol = (each.client for each in watching)
        encrypted = {
            "type": "m.room.encryption",
            "state_key": "",
            "content": {"algorithm": "m.megolm.v1.aes-sha2"},
        }
        room_id = await alice.creates_room(**PUBLIC, initial_state=[encrypted])
        for user in (bob, carol):
            await user.post(f"join/{quoted(room_id)}", {}, via=servers[0].name)
        for each in watching:
            await each.until(lambda w: room_id in w.joined)
        first = await uploads_keys(alice, one_time=2)

        async def all_learn_of(**keys: Any) -> None:
            expected = {device_id: each.device_keys()["keys"] for device_id, each in keys.items()}
            await together(*(learns_devices(each, alice, expected) for each in watching[1:]))

        phone = alice.device_id
        await all_learn_of(**{phone: first})
        tablet = await logs_in_again(at_first, alice, "TABLET")
        second = await uploads_keys(tablet, one_time=1)
        await all_learn_of(**{phone: first, "TABLET": second})

        # One-time keys are given away once.
        wanted = {"one_time_keys": {alice.user_id: {phone: "signed_curve25519"}}}
        claims = await together(*(user.post("keys/claim", wanted) for user in (bob, carol)))
        keys = [each["one_time_keys"][alice.user_id][phone] for each in claims]
        assert len({key_id for each in keys for key_id in each}) == 2

        await tablet.post("logout")
        await all_learn_of(**{phone: first})


async def learns_devices(watcher: Watcher, owner: Client, expected: dict[str, Any]) -> None:
    """Sync until a change is told after which a query shows the owner's devices as they are."""
    shown: dict[str, Any] = {}
    while shown != expected:
        watcher.changed.clear()
        await watcher.until(lambda w: owner.user_id in w.changed)
        asked: dict[str, Any] = {"device_keys": {owner.user_id: []}}
        answer = await watcher.client.post("keys/query", asked)
        devices = answer["device_keys"][owner.user_id]
        shown = {device_id: each["keys"] for device_id, each in devices.items()}


async def test_rooms_of_others_are_found_and_read_from_their_beginning(
    servers: list[Server],
) -> None:
    async with watchers(servers) as watching:
        alice, bob, carol = (each.client for each in watching)
        room_id = await alice.creates_room(**PUBLIC, visibility="public", name="Library")
        said = [f"page {number}" for number in range(150)]
        for body in said[:75]:
            await alice.sends(room_id, body)
        public = await bob.get("publicRooms", server=servers[0].name)
        assert room_id in [each["room_id"] for each in public["chunk"]]
        await bob.post(f"join/{quoted(room_id)}", {}, via=servers[0].name)
        for number, body in enumerate(said[75:]):
            await (alice if number % 2 else bob).sends(room_id, body)
        await watching[0].reads(room_id, said[-1], said[-2])
        await carol.post(f"join/{quoted(room_id)}", {}, via=servers[1].name)

        read = await history_of(carol, room_id)
        assert {each["content"].get("body") for each in read.values()} >= set(said)
        assert list(read.values())[-1]["type"] == "m.room.create"
        await agreement(watching, room_id)


async def test_a_server_that_was_killed_catches_up(servers: list[Server]) -> None:
    async with watchers(servers) as watching:
        alice, bob, carol = (each.client for each in watching)
        rooms = [await alice.creates_room(**PUBLIC, name=name) for name in ("One", "Two")]
        for room_id in rooms:
            for user in (bob, carol):
                await user.post(f"join/{quoted(room_id)}", {}, via=servers[0].name)
        for room_id in rooms:
            await carol.sends(room_id, "all is well")
            await all_read(watching, room_id, "all is well")
        # On their way, some of them, when it dies.
        last_words = [f"last word {number}" for number in range(10)]
        for body in last_words:
            await carol.sends(rooms[0], body)
        await asyncio.to_thread(servers[2].process.kill)

        missed = [f"{number} missed" for number in range(120)]
        for number, body in enumerate(missed):
            await (alice if number % 2 else bob).sends(rooms[number % 3 == 0], body)
        await bob.leaves(rooms[1])
        await alice.sets(rooms[0], "m.room.name", {"name": "Changed meanwhile"})
        await sends_to_device(alice, {carol.user_id: {carol.device_id: {"kept": True}}})

        await asyncio.to_thread(servers[2].process.start)
        back = await carol.sends(rooms[0], "I am back")
        await watching[0].until(lambda w: back in w.events[rooms[0]])
        await watching[2].until(lambda w: w.to_device)
        assert [each["content"] for each in watching[2].to_device] == [{"kept": True}]
        history = await agreement(watching, rooms[0])
        bodies = {each["content"].get("body") for each in history.values()}
        assert bodies >= {*last_words, "I am back"}
        read = await agreement([watching[0], watching[2]], rooms[1])
        bodies |= {each["content"].get("body") for each in read.values()}
        assert bodies >= set(missed)
        assert (await carol.reads_members(rooms[1]))[bob.user_id] == "leave"


@pytest.mark.filterwarnings("default:::nio", "default:::peewee")
async def test_encrypted_messages_are_read_on_other_servers(
    servers: list[Server], tmp_path: Path
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        makers = [
            await stack.enter_async_context(encrypted_clients(server.process.url, tmp_path / name))
            for server, name in zip(servers, NAMES, strict=True)
        ]
        alice, bob, carol = [
            await maker.registered(f"secret_{name}")
            for maker, name in zip(makers, NAMES, strict=True)
        ]
        room_id = await alice.makes_room(bob.nio.user_id, carol.nio.user_id)
        await bob.settles()
        await carol.settles()
        for each in (alice, bob, carol):
            await knows_devices(each, room_id, alice, bob, carol)
        for speaker in (alice, bob, carol):
            body = f"from {speaker.nio.user_id}"
            await speaker.says(room_id, body)
            for each in (alice, bob, carol):
                if each is not speaker:
                    await each.waits_for(body)

        phone = makers[1].make("secret_bob")
        await phone.logs_in()
        await knows_devices(alice, room_id, alice, bob, carol, phone)
        await alice.says(room_id, "to four devices")
        for each in (bob, carol, phone):
            await each.waits_for("to four devices")
        assert bob.unread == carol.unread == []


async def knows_devices(client: EncryptedClient, room_id: str, *expected: EncryptedClient) -> None:
    """Sync until a client knows devices in the room: it encrypts to those that it knows."""
    own = (client.nio.user_id, client.nio.device_id)
    wanted = {(each.nio.user_id, each.nio.device_id) for each in expected} - {own}
    known: set[tuple[str, str]] = set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not wanted <= known:
            await client.nio.sync(timeout=1_000)
            await client.settles()
            users = client.nio.rooms[room_id].users if room_id in client.nio.rooms else ()
            known = {
                (user_id, device.id)
                for user_id in users
                for device in client.nio.device_store.active_user_devices(user_id)
            }
