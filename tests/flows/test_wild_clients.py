"""What clients in the wild really send: old paths and spellings that must go on working."""

import json
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from tests.support.client import refused

R0 = "/_matrix/client/r0"


class Raw:
    """Requests exactly as they are written, with nothing added."""

    def __init__(self, session, url):
        self._session = session
        self._url = url

    async def __call__(self, method, target, body=None, **headers):
        """Return status, JSON body (or text) and headers."""
        async with self._session.request(
            method,
            URL(f"{self._url}{target}", encoded=True),
            data=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            skip_auto_headers=("Content-Type", "Accept", "User-Agent"),
        ) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None, response.headers


@pytest.fixture
async def raw(server):
    async with aiohttp.ClientSession() as session:
        yield Raw(session, server.url)


@pytest.fixture
def bearer(alice):
    return {"Authorization": f"Bearer {alice.access_token}"}


async def test_older_clients_say_r0_throughout(alice):
    room = (await alice.post(f"{R0}/createRoom", {}))["room_id"]
    sent = f"{R0}/rooms/{quote(room)}/send/m.room.message/1"
    event = (await alice.put(sent, {"msgtype": "m.text", "body": "hi"}))["event_id"]
    assert room in (await alice.get(f"{R0}/sync"))["rooms"]["join"]
    assert (await alice.get(f"{R0}/rooms/{quote(room)}/messages", dir="b"))["chunk"]
    await alice.put(f"{R0}/rooms/{quote(room)}/redact/{quote(event)}/2", {})
    for path in ("account/whoami", "devices", "pushrules/", "joined_rooms", "voip/turnServer"):
        await alice.get(f"{R0}/{path}")
    assert "flows" in await alice.get(f"{R0}/login")


async def test_the_token_may_stand_in_the_query(alice, raw):
    target = f"/_matrix/client/v3/account/whoami?access_token={quote(alice.access_token)}"
    status, answer, _ = await raw("GET", target)
    assert (status, answer["user_id"]) == (200, alice.user_id)


async def test_cross_signing_keys_may_be_uploaded_by_the_unstable_name(raw, bearer):
    target = "/_matrix/client/unstable/keys/device_signing/upload"
    status, answer, _ = await raw("POST", target, b"{}", **bearer)
    assert (status, answer.get("errcode")) != (404, "M_UNRECOGNIZED")


@pytest.mark.parametrize(
    "path", ["rooms/{room}/summary", "summary/{room}"], ids=["in rooms", "before rooms"]
)
async def test_the_unstable_summary_has_two_spellings(alice, bob, path):
    room = await alice.creates_room(preset="public_chat", name="Square")
    target = "/_matrix/client/unstable/im.nheko.summary/" + path.format(room=quote(room))
    assert (await bob.get(target))["name"] == "Square"


async def test_rooms_are_peeked_at_by_initial_sync_and_long_polls(alice, bob):
    visibility = {"history_visibility": "world_readable"}
    state = [{"type": "m.room.history_visibility", "content": visibility}]
    room = await alice.creates_room(initial_state=state)
    snapshot = await bob.get(f"rooms/{quote(room)}/initialSync", limit=10)
    token = snapshot["messages"]["end"]
    event = await alice.sends(room, "hello")
    news = await bob.get("events", room_id=room, from_=token, timeout=5_000)
    assert event in [each["event_id"] for each in news["chunk"]]


@pytest.mark.parametrize("root", ["/_matrix/client/v3", R0])
async def test_paths_may_end_with_a_slash_where_clients_write_one(alice, root):
    room = await alice.creates_room(name="Square")
    assert "global" in await alice.get(f"{root}/pushrules/")
    assert "content" in await alice.get(f"{root}/pushrules/global/")
    state = f"{root}/rooms/{quote(room)}/state"
    assert await alice.get(f"{state}/m.room.name/") == {"name": "Square"}
    assert await alice.get(f"{state}/m.room.name") == {"name": "Square"}
    await alice.put(f"{state}/m.room.topic/", {"topic": "Talk"})
    assert (await alice.get(f"{state}/m.room.topic"))["topic"] == "Talk"


async def test_empty_and_unknown_queries_do_no_harm(alice, raw, bearer):
    room = await alice.creates_room()
    target = f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/1?"
    status, answer, _ = await raw("PUT", target, b'{"msgtype":"m.text","body":"a"}', **bearer)
    assert (status, set(answer)) == (200, {"event_id"})
    status, answer, _ = await raw("GET", "/_matrix/client/v3/login?&_cacheBuster=123")
    assert (status, set(answer) >= {"flows"}) == (200, True)
    status, _, _ = await raw("GET", "/_matrix/client/versions?&_cacheBuster=123")
    assert status == 200


async def test_identifiers_may_be_escaped_wholly_or_not_at_all(alice, raw, bearer):
    room = await alice.creates_room(room_alias_name="square")
    event = await alice.sends(room, "hello")
    alias = f"#square:{alice.user_id.partition(':')[2]}"
    for each, escaped in ((room, False), (room, True)):
        name = quote(each, safe="") if escaped else each
        event_name = quote(event, safe="") if escaped else event
        user = quote(alice.user_id, safe="") if escaped else alice.user_id
        for target in (
            f"rooms/{name}/event/{event_name}",
            f"rooms/{name}/state/m.room.member/{user}",
            f"profile/{user}",
            f"user/{user}/rooms/{name}/tags",
        ):
            status, answer, _ = await raw("GET", f"/_matrix/client/v3/{target}", **bearer)
            assert status == 200, (target, answer)
    status, answer, _ = await raw("GET", f"/_matrix/client/v3/directory/room/{quote(alias)}")
    assert (status, answer["room_id"]) == (200, room)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_matrix/client/versions"),
        ("GET", "/_matrix/client/v3/sync"),
        ("PUT", "/_matrix/client/v3/rooms/!a:b/send/m.room.message/1"),
        ("POST", "/_matrix/client/v3/user/@a:b/openid/request_token"),
        ("POST", "/_matrix/client/v3/rooms/!a:b/report/$c"),
        ("PUT", "/_matrix/client/v1/admin/lock/@a:b"),
        ("GET", "/_matrix/client/v3/voip/turnServer"),
        ("GET", "/.well-known/matrix/client"),
        ("GET", "/.well-known/matrix/policy_server"),
    ],
)
async def test_browsers_ask_before_nearly_every_request(raw, method, path):
    status, _, headers = await raw(
        "OPTIONS",
        path,
        Origin="https://app.example.org",
        Access_Control_Request_Method=method,
        Access_Control_Request_Headers="authorization,content-type",
    )
    assert status in (200, 204)
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert method in headers["Access-Control-Allow-Methods"]
    allowed = headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed
    assert "content-type" in allowed


@pytest.mark.parametrize(
    "path",
    [
        "/_matrix/client/v1/auth_metadata",
        "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
        "/_matrix/client/unstable/org.matrix.msc2965/auth_issuer",
        "/_matrix/client/v1/auth_issuer",
        "/_matrix/client/unstable/org.matrix.msc3814.v1/no_such_thing",
        "/_synapse/admin/v1/users/@alice:hs.example/no_such_thing",
    ],
)
async def test_probes_get_an_error_that_clients_understand(raw, path):
    status, answer, headers = await raw("GET", path, Origin="https://app.example.org")
    assert (status, answer["errcode"]) == (404, "M_UNRECOGNIZED")
    assert answer["error"]
    assert headers["Content-Type"].startswith("application/json")
    assert headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("room", [None, "a room"])
async def test_empty_account_data_that_was_never_set_comes_back_in_sync(alice, room):
    if room is not None:
        room = await alice.creates_room()
    since = (await alice.syncs())["next_batch"]
    place = f"user/{alice.user_id}/" + (f"rooms/{quote(room)}/" if room else "")
    await alice.put(f"{place}account_data/org.example.setting", {})
    answer = await alice.syncs(since)
    told = answer["rooms"]["join"][room] if room else answer
    assert {"type": "org.example.setting", "content": {}} in told["account_data"]["events"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "application/json; charset=utf-8", "Accept": "text/html"},
    ],
)
async def test_json_is_taken_whatever_it_is_called(raw, bearer, headers):
    target = "/_matrix/client/v3/createRoom"
    status, answer, answered = await raw("POST", target, b'{"name":"x"}', **bearer, **headers)
    assert (status, set(answer)) == (200, {"room_id"})
    assert answered["Content-Type"].startswith("application/json")


async def test_versions_run_from_the_oldest_to_v1_19_and_features_are_true(alice, clients):
    answer = await clients.nobody().get("/_matrix/client/versions")
    assert answer["versions"] == ["r0.6.1", *(f"v1.{minor}" for minor in range(1, 20))]
    assert set(answer["unstable_features"].values()) <= {True, False}
    assert answer["unstable_features"]["org.matrix.msc4380.stable"] is True


async def test_capabilities_are_complete(alice):
    told = (await alice.get("capabilities"))["capabilities"]
    assert told["m.change_password"] == {"enabled": True}
    assert told["m.room_versions"]["available"]["12"] == "stable"
    assert told["m.get_login_token"] == {"enabled": True}
    assert told["m.profile_fields"]["enabled"] is True
    assert told["m.forget_forced_upon_leave"] == {"enabled": False}
    assert isinstance(told["m.3pid_changes"]["enabled"], bool)


async def test_devices_of_which_little_is_known_have_nulls(clients):
    # matrix-nio refuses answers in which the members are absent.
    alice = await clients.user("alice")
    (device,) = (await alice.get("devices"))["devices"]
    assert set(device) == {"device_id", "display_name", "last_seen_ip", "last_seen_ts"}
    assert device["display_name"] is None


async def test_well_known_documents_that_are_not_set_are_not_found(clients):
    nobody = clients.nobody()
    for name in ("support", "policy_server"):
        with refused(404, "M_NOT_FOUND"):
            await nobody.get(f"/.well-known/matrix/{name}")


async def test_bots_say_null_when_they_give_no_reason(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    nothing = {"reason": None}
    await bob.post(f"join/{quote(room)}", nothing)
    for change in ("kick", "ban", "unban", "invite"):
        path = f"rooms/{quote(room)}/{change}"
        await alice.post(path, {"user_id": bob.user_id, **nothing})
    await bob.post(f"rooms/{quote(room)}/leave", nothing)
    left = await alice.reads_state(room, "m.room.member", bob.user_id)
    assert left["membership"] == "leave"
    assert "reason" not in left
