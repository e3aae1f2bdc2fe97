"""Locking, suspending and looking at accounts. Spec: client-server-api/#server-administration"""

import asyncio

import pytest

from homeserver.protocol.identifiers import UserID
from tests.support.client import Refusal, answer_of, refused
from tests.support.server import SERVER_NAME

V1 = "/_matrix/client/v1/admin"
UNSTABLE = "/_matrix/client/unstable/uk.timedout.msc4323/admin"


@pytest.fixture
async def admin(clients, server):
    admin = await clients.user("admin")
    await server.accounts.accounts.set_admin(UserID(admin.user_id), is_admin=True)
    return admin


@pytest.mark.parametrize("root", [V1, UNSTABLE])
async def test_a_locked_user_may_only_log_out(admin, bob, root):
    path = f"{root}/lock/{bob.user_id}"
    assert await admin.get(path) == {"locked": False}
    assert await admin.put(path, {"locked": True}) == {"locked": True}
    assert await admin.get(path) == {"locked": True}
    with refused(401, "M_USER_LOCKED"):
        await bob.syncs()
    with refused(401, "M_USER_LOCKED"):
        await bob.get("account/whoami")
    assert await admin.put(path, {"locked": False}) == {"locked": False}
    assert (await bob.get("account/whoami"))["user_id"] == bob.user_id
    await admin.put(path, {"locked": True})
    assert await bob.post("logout") == {}


async def test_a_lock_logs_out_softly(admin, bob):
    await admin.put(f"{V1}/lock/{bob.user_id}", {"locked": True})
    with pytest.raises(Refusal) as caught:
        await bob.syncs()
    assert caught.value.body == {
        "errcode": "M_USER_LOCKED",
        "error": "This account has been locked",
        "soft_logout": True,
    }


async def test_a_lock_ends_the_syncs_that_wait(admin, bob, server):
    since = (await bob.syncs())["next_batch"]
    waiting = asyncio.create_task(bob.syncs(since, timeout=120_000))
    while not server.base.notifier.waiting():
        await admin.get("account/whoami")
    await admin.put(f"{V1}/lock/{bob.user_id}", {"locked": True})
    async with asyncio.timeout(60):
        assert "rooms" not in await waiting
    with refused(401, "M_USER_LOCKED"):
        await bob.syncs(since)


@pytest.mark.parametrize("root", [V1, UNSTABLE])
async def test_a_suspended_user_reads_and_leaves_but_sends_nothing(admin, bob, root):
    room = await bob.creates_room()
    path = f"{root}/suspend/{bob.user_id}"
    assert await admin.get(path) == {"suspended": False}
    assert await admin.put(path, {"suspended": True}) == {"suspended": True}
    assert await admin.get(path) == {"suspended": True}
    with refused(403, "M_USER_SUSPENDED"):
        await bob.sends(room, "hello")
    await bob.syncs()
    assert await admin.put(path, {"suspended": False}) == {"suspended": False}
    await bob.sends(room, "hello")


async def test_only_administrators_have_the_capability(admin, bob):
    told = (await admin.get("capabilities"))["capabilities"]
    assert told["m.account_moderation"] == {"suspend": True, "lock": True}
    assert "m.account_moderation" not in (await bob.get("capabilities"))["capabilities"]


@pytest.mark.parametrize(("what", "member"), [("lock", "locked"), ("suspend", "suspended")])
async def test_what_cannot_be_moderated_is_refused(
    admin, bob, carol, clients, server, what, member
):
    other_admin = await clients.user("boss")
    await server.accounts.accounts.set_admin(UserID(other_admin.user_id), is_admin=True)
    gone = await clients.user("gone")
    await gone.post("account/deactivate", {"auth": _password("gone")})

    async def put(client, user_id, body=None):
        path = f"{V1}/{what}/{user_id}"
        return await answer_of(client.put(path, {member: True} if body is None else body))

    assert await put(bob, carol.user_id) == (403, "M_FORBIDDEN")
    # Nobody else learns who has an account.
    assert await put(bob, f"@nobody:{SERVER_NAME}") == (403, "M_FORBIDDEN")
    assert await put(bob, "@carol:elsewhere.example") == (403, "M_FORBIDDEN")
    assert await put(clients.nobody(), bob.user_id) == (401, "M_MISSING_TOKEN")
    assert await put(admin, admin.user_id) == (403, "M_FORBIDDEN")
    assert await put(admin, other_admin.user_id) == (403, "M_FORBIDDEN")
    assert await put(admin, "@carol:elsewhere.example") == (400, "M_INVALID_PARAM")
    assert await put(admin, f"@nobody:{SERVER_NAME}") == (404, "M_NOT_FOUND")
    assert await put(admin, gone.user_id) == (404, "M_NOT_FOUND")
    assert await put(admin, "bob") == (400, "M_INVALID_PARAM")
    assert await put(admin, bob.user_id, {member: "yes"}) == (400, "M_BAD_JSON")
    assert await put(admin, bob.user_id, {member: None}) == (400, "M_BAD_JSON")
    assert await put(admin, bob.user_id, {"other": True}) == (400, "M_MISSING_PARAM")
    assert await answer_of(admin.get(f"{V1}/{what}/{other_admin.user_id}")) == (403, "M_FORBIDDEN")
    assert await answer_of(bob.get(f"{V1}/{what}/{bob.user_id}")) == (403, "M_FORBIDDEN")


async def test_whois_tells_users_and_administrators_where_devices_were_seen(
    admin, bob, carol, server
):
    await server.accounts.last_seen.write()
    await bob.get("account/whoami")
    await server.accounts.last_seen.write()
    for client in (admin, bob):
        for root in ("/_matrix/client/v3", "/_matrix/client/r0"):
            answer = await client.get(f"{root}/admin/whois/{bob.user_id}")
            assert answer["user_id"] == bob.user_id
            seen = answer["devices"][bob.device_id]["sessions"][0]["connections"][0]
            assert seen["ip"] == "127.0.0.1"
            assert seen["last_seen"] > 0
            assert "user_agent" in seen
    with refused(403, "M_FORBIDDEN"):
        await carol.get(f"admin/whois/{bob.user_id}")
    with refused(404, "M_NOT_FOUND"):
        await admin.get(f"admin/whois/@nobody:{SERVER_NAME}")
    with refused(400, "M_INVALID_PARAM"):
        await admin.get("admin/whois/@bob:elsewhere.example")


def _password(name):
    return {"type": "m.login.password", "user": name, "password": "wordpass-1"}
