"""Every method of matrix-nio's client that asks the server something, once, unmodified.

Sync, encryption and disasters have tests of their own beside this one.
"""

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import nio
import pytest
from nio import AsyncClient, MessageDirection, PushRuleKind, RoomPreset, RoomVisibility
from nio.api import RelationshipType
from nio.responses import RoomUpgradeResponse

from tests.support.client import CLIENT
from tests.support.processes import ServerProcess, server_processes

pytestmark = pytest.mark.filterwarnings("default:::nio")
PASSWORD = "a password of some length"
SETTINGS = {
    "RATE_LIMITS_ENABLED": "false",
    "PASSWORDS_BCRYPT_COST": "4",
    "REGISTRATION_ENABLED": "true",
    "REGISTRATION_WITHOUT_VERIFICATION": "true",
    "SERVER_PUBLIC_BASE_URL": "https://localhost",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_processes() as make:
        made = make(tmp_path_factory.mktemp("nio") / "data", SETTINGS)
        made.start()
        yield made


class Made:
    """Registers users; names are used once in the module."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clients: list[AsyncClient] = []

    async def user(self, name: str) -> AsyncClient:
        client = AsyncClient(self.url, name)
        self.clients.append(client)
        await well(client.register(name, PASSWORD))
        return client


@pytest.fixture
async def users(server: ServerProcess) -> AsyncIterator[Made]:
    made = Made(server.url)
    yield made
    for client in made.clients:
        await client.close()


async def well(asked: Awaitable[Any]) -> Any:
    """Return an answer that is none of nio's errors."""
    answer = await asked
    assert not isinstance(answer, nio.ErrorResponse), answer
    return answer


async def said(client: AsyncClient, room_id: str, body: str, **more: Any) -> str:
    content = {"msgtype": "m.text", "body": body, **more}
    return (await well(client.room_send(room_id, "m.room.message", content))).event_id


async def test_sessions_devices_and_discovery(users: Made) -> None:
    alice = await users.user("sessions")
    assert "m.login.password" in (await well(alice.login_info())).flows
    assert (await well(alice.discovery_info())).homeserver_url == "https://localhost"
    assert (await well(alice.whoami())).user_id == alice.user_id
    second = AsyncClient(users.url, "sessions")
    users.clients.append(second)
    await well(second.login(PASSWORD, device_name="phone"))
    devices = (await well(alice.devices())).devices
    assert {each.id for each in devices} == {alice.device_id, second.device_id}
    await well(alice.update_device(second.device_id, {"display_name": "telephone"}))
    renamed = {each.id: each.display_name for each in (await well(alice.devices())).devices}
    assert renamed[second.device_id] == "telephone"
    asked = await alice.delete_devices([second.device_id])
    auth = {"type": "m.login.password", "user": "sessions", "password": PASSWORD}
    await well(alice.delete_devices([second.device_id], {**auth, "session": asked.session}))
    assert isinstance(await second.whoami(), nio.WhoamiError)
    third = AsyncClient(users.url, alice.user_id)
    users.clients.append(third)
    identifier = {"type": "m.id.user", "user": "sessions"}
    await well(
        third.login_raw(
            {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        )
    )
    await well(third.logout())
    await well(alice.logout(all_devices=True))


async def test_people(users: Made) -> None:
    alice, bob = await users.user("people"), await users.user("others")
    await well(alice.set_displayname("Alice 🌍"))
    await well(alice.set_avatar("mxc://localhost/picture"))
    profile = await well(bob.get_profile(alice.user_id))
    assert (profile.displayname, profile.avatar_url) == ("Alice 🌍", "mxc://localhost/picture")
    assert (await well(bob.get_displayname(alice.user_id))).displayname == "Alice 🌍"
    assert (await well(bob.get_avatar(alice.user_id))).avatar_url == "mxc://localhost/picture"
    room_id = (await well(alice.room_create(is_direct=True, invite=[bob.user_id]))).room_id
    await well(bob.join(room_id))
    await well(alice.set_presence("unavailable", "at lunch"))
    present = await well(bob.get_presence(alice.user_id))
    assert (present.presence, present.status_msg) == ("unavailable", "at lunch")
    direct = {bob.user_id: [room_id]}
    await _puts(alice, f"user/{alice.user_id}/account_data/m.direct", direct)
    assert (await well(alice.list_direct_rooms())).rooms == direct
    token = await well(alice.get_openid_token(alice.user_id))
    assert token.token_type == "Bearer"


async def _puts(client: AsyncClient, path: str, content: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {client.access_token}"}
    answer = await client.send("PUT", f"{CLIENT}/{path}", nio.Api.to_json(content), headers)
    assert answer.status == 200


async def test_memberships(users: Made) -> None:
    alice, bob = await users.user("members"), await users.user("comers")
    room_id = (
        await well(alice.room_create(preset=RoomPreset.private_chat, room_version="10"))
    ).room_id
    await well(alice.room_invite(room_id, bob.user_id))
    await well(bob.join(room_id))
    members = (await well(alice.joined_members(room_id))).members
    assert {each.user_id for each in members} == {alice.user_id, bob.user_id}
    assert room_id in (await well(bob.joined_rooms())).rooms
    await well(alice.room_kick(room_id, bob.user_id, "out"))
    await well(alice.room_ban(room_id, bob.user_id))
    await well(alice.room_unban(room_id, bob.user_id))
    await well(alice.sync())
    await well(alice.room_enable_knocking(room_id))
    await well(bob.room_knock(room_id, "please"))
    await well(alice.room_invite(room_id, bob.user_id))
    await well(bob.join(room_id))
    await well(bob.sync())
    await well(bob.room_leave(room_id))
    await well(bob.room_forget(room_id))


async def test_messages_state_and_history(users: Made) -> None:
    alice, bob = await users.user("writer"), await users.user("reader")
    # nio does not know that creators of v12 rooms may do all.
    created = alice.room_create(name="The room", preset=RoomPreset.public_chat, room_version="10")
    room_id = (await well(created)).room_id
    await well(bob.join(room_id))
    first = await said(alice, room_id, "first")
    reply = {"m.relates_to": {"rel_type": "m.thread", "event_id": first}}
    second = await said(bob, room_id, "second", **reply)
    assert (await well(alice.room_get_event(room_id, first))).event.body == "first"
    await well(alice.room_put_state(room_id, "m.example", {"a": 1}, "key"))
    found = await well(alice.room_get_state_event(room_id, "m.example", "key"))
    assert found.content == {"a": 1}
    types = {each["type"] for each in (await well(alice.room_get_state(room_id))).events}
    assert {"m.room.create", "m.room.name", "m.example"} <= types
    context = await well(alice.room_context(room_id, first, limit=10))
    assert context.event.event_id == first
    page = await well(alice.room_messages(room_id, direction=MessageDirection.back, limit=50))
    assert [each.body for each in page.chunk if isinstance(each, nio.RoomMessageText)] == [
        "second",
        "first",
    ]
    related = alice.room_get_event_relations(room_id, first, RelationshipType.thread)
    assert [each.event_id async for each in related] == [second]
    assert [each.event_id async for each in alice.room_get_threads(room_id)] == [first]
    await well(bob.room_typing(room_id, True, 5_000))
    await well(bob.update_receipt_marker(room_id, first))
    await well(bob.room_read_markers(room_id, second, second))
    await well(alice.room_redact(room_id, first, "no more"))
    assert isinstance((await well(alice.room_get_event(room_id, first))).event, nio.RedactedEvent)
    await well(alice.sync())
    await well(alice.update_room_topic(room_id, "What it is about"))
    # `has_permission` of nio 0.26 answers an error for whoever has a power level.
    assert await alice.has_event_permission(room_id, "m.room.message")


async def test_directories_and_spaces(users: Made) -> None:
    alice = await users.user("director")
    created = await well(
        alice.room_create(
            visibility=RoomVisibility.public, alias="nio-room", name="Public by nio", topic="t"
        )
    )
    room_id, alias = created.room_id, "#nio-room:localhost"
    assert (await well(alice.room_resolve_alias(alias))).room_id == room_id
    await well(alice.room_put_alias("#other:localhost", room_id))
    await well(alice.sync())
    await alice.room_update_aliases(room_id, "#nio-room:localhost", ["#other:localhost"])
    await well(alice.room_delete_alias("#other:localhost"))
    assert (await well(alice.room_get_visibility(room_id))).visibility == "public"
    listed = await well(alice.list_public_rooms(filter_generic_search_term="by nio"))
    assert [each.room_id for each in listed.public_rooms] == [room_id]
    space_id = (await well(alice.room_create(space=True, name="Space"))).room_id
    await well(alice.room_put_state(space_id, "m.space.child", {"via": ["localhost"]}, room_id))
    rooms = (await well(alice.space_get_hierarchy(space_id))).rooms
    assert {each["room_id"] for each in rooms} == {space_id, room_id}


async def test_a_room_is_upgraded(users: Made) -> None:
    alice = await users.user("upgrader")
    room_id = (await well(alice.room_create(name="Old", room_version="9"))).room_id
    await well(alice.sync())
    upgraded = await alice.room_upgrade(room_id, "10")
    assert isinstance(upgraded, RoomUpgradeResponse), upgraded
    await well(alice.sync())
    name = await well(alice.room_get_state_event(upgraded.room_id, "m.room.name"))
    assert name.content == {"name": "Old"}


async def test_push_rules_and_filters(users: Made) -> None:
    alice = await users.user("pusher")
    await well(
        alice.set_pushrule(
            "global", PushRuleKind.content, "word", actions=[nio.PushNotify()], pattern="word"
        )
    )
    await well(alice.enable_pushrule("global", PushRuleKind.content, "word", enable=False))
    await well(
        alice.set_pushrule_actions(
            "global", PushRuleKind.content, "word", [nio.PushSetTweak("sound", "default")]
        )
    )
    await well(alice.delete_pushrule("global", PushRuleKind.content, "word"))
    filter_id = (await well(alice.upload_filter(room={"timeline": {"limit": 1}}))).filter_id
    await well(alice.sync(sync_filter=filter_id))


async def test_to_device_messages(users: Made) -> None:
    alice, bob = await users.user("sender"), await users.user("receiver")
    message = nio.ToDeviceMessage("m.example", bob.user_id, bob.device_id, {"a": 1})
    await well(alice.to_device(message))
    told = (await well(bob.sync())).to_device_events
    assert [each.sender for each in told] == [alice.user_id]
