"""New rooms that are encrypted whether their creator asks for it or not."""

import pytest

from homeserver.config.sections.rooms import RoomsSection
from tests.support.client import clients_of, refused
from tests.support.server import server_of

PRESETS = {"private_chat": "private", "trusted_private_chat": "trusted_private"}


@pytest.mark.parametrize(
    ("setting", "encrypted"),
    [
        ("off", set()),
        ("invite", {"private_chat", "trusted_private_chat"}),
        ("all", {"private_chat", "trusted_private_chat", "public_chat"}),
    ],
)
async def test_the_setting_says_which_rooms_are_encrypted(
    database_dsn, tmp_path, setting, encrypted
):
    rooms = RoomsSection(encrypt_new_rooms=setting)
    async with (
        server_of(database_dsn, tmp_path, rooms=rooms) as server,
        clients_of(server.url) as clients,
    ):
        alice = await clients.user("alice")
        features = (await alice.get("/_matrix/client/versions"))["unstable_features"]
        for preset in (*PRESETS, "public_chat"):
            room = await alice.creates_room(preset=preset)
            name = f"io.element.e2ee_forced.{PRESETS.get(preset, 'public')}"
            assert features.get(name, False) is (preset in encrypted)
            if preset in encrypted:
                content = await alice.reads_state(room, "m.room.encryption")
                assert content == {"algorithm": "m.megolm.v1.aes-sha2"}
            else:
                with refused(404, "M_NOT_FOUND"):
                    await alice.reads_state(room, "m.room.encryption")


async def test_who_asks_for_other_encryption_gets_it(database_dsn, tmp_path):
    rooms = RoomsSection(encrypt_new_rooms="all")
    async with (
        server_of(database_dsn, tmp_path, rooms=rooms) as server,
        clients_of(server.url) as clients,
    ):
        alice = await clients.user("alice")
        content = {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 5}
        state = [{"type": "m.room.encryption", "content": content}]
        room = await alice.creates_room(initial_state=state)
        assert await alice.reads_state(room, "m.room.encryption") == content
