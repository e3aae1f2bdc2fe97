"""matrix-nio with encryption, unmodified, in an encrypted room."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.clients.encrypted import PASSWORD, ClientMaker, encrypted_clients
from tests.support.client import clients_of
from tests.support.olm import OlmDevice
from tests.support.processes import ServerProcess, server_processes

pytestmark = pytest.mark.filterwarnings("default:::nio", "default:::peewee")
SETTINGS = {"RATE_LIMITS_ENABLED": "false", "PASSWORDS_BCRYPT_COST": "4"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with server_processes() as make:
        made = make(tmp_path / "data", SETTINGS)
        made.start()
        yield made


@pytest.fixture
async def nio_clients(server: ServerProcess, tmp_path: Path) -> AsyncIterator[ClientMaker]:
    async with encrypted_clients(server.url, tmp_path) as maker:
        yield maker


async def test_messages_are_read_by_all_devices_and_again_after_a_restart(
    server: ServerProcess, nio_clients: ClientMaker
) -> None:
    alice, bob = await nio_clients.registered("alice"), await nio_clients.registered("bob")
    room_id = await alice.makes_room(bob.nio.user_id)
    await bob.settles()
    await alice.settles()
    await alice.says(room_id, "from alice")
    await bob.waits_for("from alice")
    await bob.says(room_id, "from bob")
    await alice.waits_for("from bob")

    phone = nio_clients.make("bob")
    await phone.logs_in()
    await alice.settles()
    await alice.says(room_id, "to three devices")
    await bob.waits_for("to three devices")
    await phone.waits_for("to three devices")
    assert "from alice" not in phone.read

    assert server.stop() == 0
    server.start()
    said = ["from alice", "from bob", "to three devices"]
    assert await bob.reads_history(room_id) == said
    await bob.says(room_id, "after the restart")
    await phone.waits_for("after the restart")
    assert bob.unread == []


async def test_a_device_that_was_removed_is_sent_no_more_keys(nio_clients: ClientMaker) -> None:
    alice, bob = await nio_clients.registered("alice"), await nio_clients.registered("bob")
    room_id = await alice.makes_room(bob.nio.user_id)
    await bob.settles()
    phone = nio_clients.make("bob")
    await phone.logs_in()
    await alice.settles()
    await alice.says(room_id, "to both")
    lost = (phone.nio.user_id, phone.nio.device_id)
    assert lost in alice.shares_with(room_id)

    asked = await bob.nio.delete_devices([lost[1]])
    auth = {"type": "m.login.password", "user": "bob", "password": PASSWORD}
    await bob.nio.delete_devices([lost[1]], {**auth, "session": asked.session})
    await alice.settles()
    known = {each.id for each in alice.nio.device_store.active_user_devices(lost[0])}
    assert known == {bob.nio.device_id}
    # nio leaves it to the bot to begin anew.
    alice.nio.invalidate_outbound_session(room_id)
    await alice.says(room_id, "to one")
    assert alice.shares_with(room_id) == {(bob.nio.user_id, bob.nio.device_id)}
    await bob.waits_for("to one")


async def test_when_one_time_keys_run_out_the_fallback_key_is_used(
    server: ServerProcess, nio_clients: ClientMaker
) -> None:
    async with clients_of(server.url) as users:
        carol, thief = await users.user("carol"), await users.user("thief")
        device = OlmDevice(carol.user_id, carol.device_id)
        keys = device.one_time_keys(2)
        fallback = device.fallback_keys()
        upload = {"device_keys": device.device_keys(), "one_time_keys": keys}
        await carol.post("keys/upload", {**upload, "fallback_keys": fallback})
        wanted = {"one_time_keys": {carol.user_id: {carol.device_id: "signed_curve25519"}}}
        stolen = [await thief.post("keys/claim", wanted) for _ in range(2)]
        taken = [next(iter(each["one_time_keys"][carol.user_id].values())) for each in stolen]
        assert {key_id for each in taken for key_id in each} == set(keys)

        alice = await nio_clients.registered("alice")
        room_id = await alice.makes_room(carol.user_id)
        await carol.joins(room_id)
        since = (await carol.syncs())["next_batch"]
        assert (await carol.syncs(timeout=0))["device_unused_fallback_key_types"] == [
            "signed_curve25519"
        ]
        await alice.settles()
        await alice.says(room_id, "by the fallback key")
        told = await carol.syncs(since, timeout=0)
        assert told["device_one_time_keys_count"] == {"signed_curve25519": 0}
        assert told["device_unused_fallback_key_types"] == []
        [message] = told["to_device"]["events"]
        room_key = device.decrypts(message["content"])
        assert room_key["type"] == "m.room_key"
        assert room_key["content"]["room_id"] == room_id
        [event] = told["rooms"]["join"][room_id]["timeline"]["events"]
        assert event["content"]["session_id"] == room_key["content"]["session_id"]
