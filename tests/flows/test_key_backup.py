"""Spec: client-server-api/#server-side-key-backups"""

import asyncio
from itertools import product

import pytest

from homeserver.services import key_backup
from homeserver.services.key_backup import MAX_KEYS_IN_REQUEST
from tests.support.client import answer_of, quoted, refused
from tests.support.to_device import logs_in_again

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ROOM, OTHER_ROOM = "!room:hs.example", "!other:hs.example"
KEYS = "room_keys/keys"
VERSION = "room_keys/version"
AUTH_DATA = {"public_key": "abcdefg", "signatures": {"@alice:hs.example": {"ed25519:D": "sig"}}}


def key(first_message_index=0, forwarded_count=0, *, is_verified=False, name="secret"):
    return {
        "first_message_index": first_message_index,
        "forwarded_count": forwarded_count,
        "is_verified": is_verified,
        "session_data": {"ephemeral": "e", "ciphertext": name, "mac": "m", "ü": [1, 0.5, None]},
    }


def path_of(room_id=ROOM, session_id=None):
    segments = [room_id] if session_id is None else [room_id, session_id]
    return f"{KEYS}/{quoted(*segments)}"


async def begins_backup(client, **body):
    """Begin a backup and return its version."""
    body = {"algorithm": ALGORITHM, "auth_data": AUTH_DATA, **body}
    return (await client.post(VERSION, body))["version"]


@pytest.fixture
async def version(alice):
    """A backup of Alice's."""
    return await begins_backup(alice)


async def test_a_backup_is_found_as_it_was_made(clients, alice):
    with refused(404, "M_NOT_FOUND"):
        await alice.get(VERSION)
    version = await begins_backup(alice)
    expected = {
        "algorithm": ALGORITHM,
        "auth_data": AUTH_DATA,
        "count": 0,
        "etag": "0",
        "version": version,
    }
    phone = await logs_in_again(clients, alice, "PHONE")
    for client in (alice, phone):
        assert await client.get(VERSION) == expected
        assert await client.get(f"{VERSION}/{version}") == expected


async def test_the_newest_backup_is_the_current_one(alice):
    first, second = await begins_backup(alice), await begins_backup(alice)
    assert first != second
    assert (await alice.get(VERSION))["version"] == second
    assert (await alice.get(f"{VERSION}/{first}"))["version"] == first
    await alice.delete(f"{VERSION}/{second}")
    assert (await alice.get(VERSION))["version"] == first
    assert await begins_backup(alice) not in (first, second)


async def test_the_auth_data_of_a_backup_can_be_replaced(alice, version):
    body = {"algorithm": ALGORITHM, "auth_data": {"public_key": "other"}}
    assert await alice.put(f"{VERSION}/{version}", body) == {}
    assert await alice.put(f"{VERSION}/{version}", {**body, "version": version}) == {}
    assert (await alice.get(VERSION))["auth_data"] == {"public_key": "other"}
    for change in ({"algorithm": "m.other"}, {"version": "2"}):
        with refused(400, "M_INVALID_PARAM"):
            await alice.put(f"{VERSION}/{version}", {**body, **change})


async def test_a_deleted_backup_is_gone_with_its_keys(alice, version):
    await alice.put(path_of(ROOM, "s1"), key(), version=version)
    for _ in range(2):
        assert await alice.delete(f"{VERSION}/{version}") == {}
    with refused(404, "M_NOT_FOUND"):
        await alice.get(f"{VERSION}/{version}")
    with refused(404, "M_NOT_FOUND"):
        await alice.get(path_of(ROOM, "s1"), version=version)
    with refused(404, "M_NOT_FOUND"):
        await alice.put(path_of(ROOM, "s1"), key(), version=version)
    with refused(404, "M_NOT_FOUND"):
        await alice.delete(KEYS, version=version)


@pytest.mark.parametrize("shape", ["session", "room", "all"])
async def test_a_key_is_stored_read_and_deleted_in_each_shape(alice, version, shape):
    stored = key(7, 2, is_verified=True)
    path = {"session": path_of(ROOM, "s/1"), "room": path_of(), "all": KEYS}[shape]
    nothing = {"room": {"sessions": {}}, "all": {"rooms": {}}}
    body = {
        "session": stored,
        "room": {"sessions": {"s/1": stored}},
        "all": {"rooms": {ROOM: {"sessions": {"s/1": stored}}}},
    }[shape]
    if shape == "session":
        with refused(404, "M_NOT_FOUND"):
            await alice.get(path, version=version)
    else:
        assert await alice.get(path, version=version) == nothing[shape]
    assert await alice.put(path, body, version=version) == {"count": 1, "etag": "1"}
    assert await alice.get(path, version=version) == body
    assert await alice.get(path_of(ROOM, "s/1"), version=version) == stored
    assert await alice.get(KEYS, version=version) == {
        "rooms": {ROOM: {"sessions": {"s/1": stored}}}
    }
    assert await alice.delete(path, version=version) == {"count": 0, "etag": "2"}
    assert await alice.delete(path, version=version) == {"count": 0, "etag": "2"}
    assert await alice.get(KEYS, version=version) == nothing["all"]


async def test_keys_of_several_rooms_are_told_apart(alice, version):
    rooms = {
        room: {"sessions": {f"s{n}": key(n, name=room) for n in range(3)}}
        for room in (ROOM, OTHER_ROOM, "!" + "a" * 43)
    }
    await alice.put(KEYS, {"rooms": rooms}, version=version)
    assert await alice.get(KEYS, version=version) == {"rooms": rooms}
    assert await alice.get(path_of(OTHER_ROOM), version=version) == rooms[OTHER_ROOM]
    assert (await alice.delete(path_of(OTHER_ROOM, "s0"), version=version))["count"] == 8
    assert (await alice.delete(path_of(), version=version))["count"] == 5
    del rooms[ROOM], rooms[OTHER_ROOM]["sessions"]["s0"]
    assert await alice.get(KEYS, version=version) == {"rooms": rooms}


def is_better(new, old):
    """Say whether a key replaces another, in the words of the specification."""
    if new["is_verified"] != old["is_verified"]:
        return new["is_verified"]
    if new["first_message_index"] != old["first_message_index"]:
        return new["first_message_index"] < old["first_message_index"]
    return new["forwarded_count"] < old["forwarded_count"]


async def test_a_better_key_replaces_another_and_no_other_does(alice, version):
    qualities = list(product([0, 1], [0, 1], [False, True]))
    pairs = {
        f"{n}-{m}": (
            key(*old[:2], is_verified=old[2], name="old"),
            key(*new[:2], is_verified=new[2], name="new"),
        )
        for n, old in enumerate(qualities)
        for m, new in enumerate(qualities)
    }
    old = {session: pair[0] for session, pair in pairs.items()}
    new = {session: pair[1] for session, pair in pairs.items()}
    await alice.put(path_of(), {"sessions": old}, version=version)
    state = await alice.put(path_of(), {"sessions": new}, version=version)
    assert state["count"] == len(pairs)
    expected = {
        session: pair[1] if is_better(pair[1], pair[0]) else pair[0]
        for session, pair in pairs.items()
    }
    assert (await alice.get(path_of(), version=version))["sessions"] == expected


async def test_the_etag_changes_with_the_keys_and_only_then(alice, version):
    async def etag():
        return (await alice.get(VERSION))["etag"]

    seen = [await etag()]
    for number, changes in [(5, True), (5, False), (6, False), (4, True)]:
        answer = await alice.put(path_of(ROOM, "s"), key(number), version=version)
        assert answer["etag"] == await etag()
        assert (answer["etag"] not in seen) is changes
        seen.append(answer["etag"])
    await alice.put(f"{VERSION}/{version}", {"algorithm": ALGORITHM, "auth_data": {}})
    assert await etag() == seen[-1]
    assert (await alice.put(KEYS, {"rooms": {}}, version=version))["etag"] == seen[-1]


async def test_only_the_current_backup_takes_keys(alice, version):
    await alice.put(path_of(ROOM, "s"), key(), version=version)
    current = await begins_backup(alice)
    for path, body in (
        (path_of(ROOM, "s"), key()),
        (path_of(), {"sessions": {"s": key()}}),
        (KEYS, {"rooms": {}}),
    ):
        with refused(403, "M_WRONG_ROOM_KEYS_VERSION") as refusal:
            await alice.put(path, body, version=version)
        assert refusal.value.body["current_version"] == current
        with refused(404, "M_NOT_FOUND"):
            await alice.put(path, body, version="99")
    assert (await alice.get(KEYS, version=version))["rooms"] != {}
    assert (await alice.get(KEYS, version=current))["rooms"] == {}
    assert (await alice.delete(KEYS, version=version))["count"] == 0


async def test_users_have_backups_of_their_own(alice, bob, version):
    await alice.put(path_of(ROOM, "s"), key(), version=version)
    with refused(404, "M_NOT_FOUND"):
        await bob.get(f"{VERSION}/{version}")
    with refused(404, "M_NOT_FOUND"):
        await bob.get(KEYS, version=version)
    assert await begins_backup(bob) == version, "versions are counted by user"
    assert await bob.get(KEYS, version=version) == {"rooms": {}}
    await bob.delete(f"{VERSION}/{version}")
    assert (await alice.get(VERSION))["count"] == 1


async def test_ten_thousand_keys_are_stored_in_one_request(alice, version, monkeypatch):
    sessions = {f"session-{n:05}": key(n, name="c" * 900) for n in range(MAX_KEYS_IN_REQUEST)}
    half = MAX_KEYS_IN_REQUEST // 2
    rooms = {
        ROOM: {"sessions": dict(list(sessions.items())[:half])},
        OTHER_ROOM: {"sessions": dict(list(sessions.items())[half:])},
    }
    state = await alice.put(KEYS, {"rooms": rooms}, version=version)
    assert state == {"count": MAX_KEYS_IN_REQUEST, "etag": "1"}
    assert await alice.get(KEYS, version=version) == {"rooms": rooms}
    assert await alice.get(path_of(), version=version) == rooms[ROOM]
    with refused(413, "M_TOO_LARGE"):
        sessions = {str(n): key() for n in range(MAX_KEYS_IN_REQUEST + 1)}
        await alice.put(path_of(), {"sessions": sessions}, version=version)
    monkeypatch.setattr(key_backup, "MAX_KEYS", MAX_KEYS_IN_REQUEST)
    with refused(413, "M_TOO_LARGE"):
        await alice.put(path_of(ROOM, "one more"), key(), version=version)


async def test_devices_that_store_keys_at_the_same_time_lose_none(clients, alice, version):
    phone = await logs_in_again(clients, alice, "PHONE")

    async def store(client, first):
        for n in range(first, first + 5):
            sessions = {f"s{each}": key() for each in (n, 100 + n)}
            await client.put(path_of(), {"sessions": sessions}, version=version)

    await asyncio.gather(store(alice, 0), store(phone, 3), store(alice, 8))
    answer = await alice.get(VERSION)
    assert answer["count"] == len((await alice.get(path_of(), version=version))["sessions"]) == 26


async def test_backups_that_begin_at_the_same_time_have_versions_of_their_own(alice):
    versions = await asyncio.gather(*(begins_backup(alice) for _ in range(5)))
    assert len(set(versions)) == 5


async def test_a_user_cannot_have_any_number_of_backups(alice, version, monkeypatch):
    monkeypatch.setattr(key_backup, "MAX_VERSIONS", 2)
    await begins_backup(alice)
    with refused(413, "M_TOO_LARGE"):
        await begins_backup(alice)
    await alice.delete(f"{VERSION}/{version}")
    await begins_backup(alice)


@pytest.mark.parametrize("prefix", ["/_matrix/client/r0", "/_matrix/client/unstable"])
async def test_the_older_paths_answer_the_same(alice, prefix):
    body = {"algorithm": ALGORITHM, "auth_data": {}}
    version = (await alice.post(f"{prefix}/{VERSION}", body))["version"]
    for path, stored in (
        (path_of(ROOM, "s"), key()),
        (path_of(), {"sessions": {"s": key()}}),
        (KEYS, {"rooms": {ROOM: {"sessions": {"s": key()}}}}),
    ):
        await alice.put(f"{prefix}/{path}", stored, version=version)
        assert await alice.get(f"{prefix}/{path}", version=version) == stored
        await alice.delete(f"{prefix}/{path}", version=version)
    await alice.put(f"{prefix}/{VERSION}/{version}", body)
    assert (await alice.get(f"{prefix}/{VERSION}"))["version"] == version
    await alice.delete(f"{prefix}/{VERSION}/{version}")
    with refused(404, "M_NOT_FOUND"):
        await alice.get(f"{prefix}/{VERSION}/{version}")


BAD_VERSIONS = [
    ({}, (400, "M_MISSING_PARAM")),
    ({"algorithm": ALGORITHM}, (400, "M_MISSING_PARAM")),
    ({"auth_data": {}}, (400, "M_MISSING_PARAM")),
    ({"algorithm": 1, "auth_data": {}}, (400, "M_BAD_JSON")),
    ({"algorithm": ALGORITHM, "auth_data": "x"}, (400, "M_BAD_JSON")),
    ({"algorithm": ALGORITHM, "auth_data": {"x": "x" * 65_536}}, (413, "M_TOO_LARGE")),
]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        *BAD_VERSIONS,
        ({"algorithm": "", "auth_data": {}}, (400, "M_INVALID_PARAM")),
        ({"algorithm": "m" * 256, "auth_data": {}}, (400, "M_INVALID_PARAM")),
        ({"algorithm": "m\0", "auth_data": {}}, (400, "M_INVALID_PARAM")),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_bad_backups_are_refused(alice, body, refusal):
    assert await answer_of(alice.post(VERSION, body)) == refusal
    with refused(404, "M_NOT_FOUND"):
        await alice.get(VERSION)


@pytest.mark.parametrize(
    ("body", "refusal"),
    [*BAD_VERSIONS, ({"algorithm": ALGORITHM, "auth_data": {}, "version": 1}, (400, "M_BAD_JSON"))],
    ids=lambda value: str(value)[:60],
)
async def test_bad_changes_of_a_backup_are_refused(alice, version, body, refusal):
    assert await answer_of(alice.put(f"{VERSION}/{version}", body)) == refusal
    assert (await alice.get(VERSION))["auth_data"] == AUTH_DATA


@pytest.mark.parametrize("version", ["0", "2", "01", "-1", "1.0", "x", "٣", "9" * 30, "1 "])
async def test_a_version_that_was_never_given_is_unknown(alice, version):
    await begins_backup(alice)
    path, body = f"{VERSION}/{quoted(version)}", {"algorithm": ALGORITHM, "auth_data": {}}
    unknown = (404, "M_NOT_FOUND")
    assert await answer_of(alice.get(path)) == unknown
    assert await answer_of(alice.put(path, body)) == unknown
    assert await answer_of(alice.delete(path)) == unknown
    for keys, content in (
        (path_of(ROOM, "s"), key()),
        (path_of(), {"sessions": {}}),
        (KEYS, {"rooms": {}}),
    ):
        assert await answer_of(alice.get(keys, version=version)) == unknown
        assert await answer_of(alice.put(keys, content, version=version)) == unknown
        assert await answer_of(alice.delete(keys, version=version)) == unknown


async def test_the_version_is_required(alice, version):
    for keys, content in (
        (path_of(ROOM, "s"), key()),
        (path_of(), {"sessions": {}}),
        (KEYS, {"rooms": {}}),
    ):
        for asked in (alice.get(keys), alice.put(keys, content), alice.delete(keys)):
            assert await answer_of(asked) == (400, "M_MISSING_PARAM")


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"first_message_index": None}, (400, "M_BAD_JSON")),
        ({"first_message_index": "1"}, (400, "M_BAD_JSON")),
        ({"first_message_index": -1}, (400, "M_INVALID_PARAM")),
        ({"first_message_index": 2**63}, (400, "M_INVALID_PARAM")),
        ({"forwarded_count": 0.5}, (400, "M_BAD_JSON")),
        ({"forwarded_count": -1}, (400, "M_INVALID_PARAM")),
        ({"is_verified": "yes"}, (400, "M_BAD_JSON")),
        ({"session_data": "text"}, (400, "M_BAD_JSON")),
        ({"session_data": {"x": "x" * 16_384}}, (413, "M_TOO_LARGE")),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_bad_keys_are_refused_in_every_shape(alice, version, change, refusal):
    bad = {**key(), **change}
    for path, body in (
        (path_of(ROOM, "s"), bad),
        (path_of(), {"sessions": {"good": key(), "s": bad}}),
        (KEYS, {"rooms": {ROOM: {"sessions": {"good": key(), "s": bad}}}}),
    ):
        assert await answer_of(alice.put(path, body, version=version)) == refusal
    assert (await alice.get(VERSION))["count"] == 0


@pytest.mark.parametrize("name", list(key()))
async def test_a_key_must_be_whole(alice, version, name):
    bad = key()
    del bad[name]
    for path, body in (
        (path_of(ROOM, "s"), bad),
        (path_of(), {"sessions": {"s": bad}}),
        (KEYS, {"rooms": {ROOM: {"sessions": {"s": bad}}}}),
    ):
        asked = alice.put(path, body, version=version)
        assert await answer_of(asked) == (400, "M_MISSING_PARAM")


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        (path_of("room", "s"), key(), (400, "M_INVALID_PARAM")),
        (path_of(ROOM, "s" * 256), key(), (400, "M_INVALID_PARAM")),
        (path_of(ROOM, "s\0"), key(), (400, "M_INVALID_PARAM")),
        (path_of("room"), {"sessions": {}}, (400, "M_INVALID_PARAM")),
        (path_of(), {}, (400, "M_MISSING_PARAM")),
        (path_of(), {"sessions": []}, (400, "M_BAD_JSON")),
        (path_of(), {"sessions": {"": key()}}, (400, "M_INVALID_PARAM")),
        (path_of(), {"sessions": {"s\0": key()}}, (400, "M_INVALID_PARAM")),
        (KEYS, {}, (400, "M_MISSING_PARAM")),
        (KEYS, {"rooms": {ROOM: {}}}, (400, "M_MISSING_PARAM")),
        (KEYS, {"rooms": {"room": {"sessions": {}}}}, (400, "M_INVALID_PARAM")),
        (KEYS, {"rooms": {}, "x": "x" * 16 * 1024 * 1024}, (413, "M_TOO_LARGE")),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_bad_requests_are_refused(alice, version, path, body, refusal):
    assert await answer_of(alice.put(path, body, version=version)) == refusal


async def test_guests_and_strangers_have_no_backups(clients, guest):
    body = {"algorithm": ALGORITHM, "auth_data": {}}
    with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
        await guest.post(VERSION, body)
    with refused(401, "M_MISSING_TOKEN"):
        await clients.nobody().get(VERSION)


async def test_backups_go_with_the_account(server, alice, version):
    await alice.put(path_of(ROOM, "s"), key(), version=version)
    password = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": "wordpass-1",
    }
    await alice.post("account/deactivate", {"auth": password})
    async with server.base.database.connection() as connection:
        for table in ("key_backup_versions", "backed_up_keys"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
