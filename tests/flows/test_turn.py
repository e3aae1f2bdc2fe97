"""TURN credentials. Spec: client-server-api/#voice-over-ip"""

import base64
import hmac

from homeserver.config.sections.turn import TurnSection
from homeserver.config.values import Secret
from tests.support.client import answer_of, clients_of, refused
from tests.support.server import server_of

URIS = ("turn:turn.example.org:3478?transport=udp", "turns:turn.example.org:443?transport=tcp")


async def test_without_a_turn_server_there_are_no_credentials(alice, clients):
    assert await alice.get("voip/turnServer") == {}
    assert await alice.get("/_matrix/client/r0/voip/turnServer") == {}
    assert await answer_of(clients.nobody().get("voip/turnServer")) == (401, "M_MISSING_TOKEN")


async def test_credentials_expire_and_are_the_users_own(database_dsn, tmp_path):
    turn = TurnSection(uris=URIS, shared_secret=Secret("north"), lifetime_seconds=600)
    async with server_of(database_dsn, tmp_path, turn=turn) as server, clients_of(server.url) as c:
        alice, guest = await c.user("alice"), await c.guest()
        now = server.base.clock.now_ms() // 1000
        answer = await alice.get("voip/turnServer")
        assert (answer["uris"], answer["ttl"]) == (list(URIS), 600)
        expires, _, user_id = answer["username"].partition(":")
        assert user_id == alice.user_id
        assert 600 <= int(expires) - now <= 660
        mac = hmac.digest(b"north", answer["username"].encode(), "sha1")
        assert base64.b64decode(answer["password"]) == mac
        assert (await guest.get("voip/turnServer"))["username"].endswith(guest.user_id)


async def test_an_account_of_the_turn_server_may_be_shared_and_guests_kept_out(
    database_dsn, tmp_path
):
    turn = TurnSection(
        uris=URIS, username="everybody", password=Secret("south"), guests_allowed=False
    )
    async with server_of(database_dsn, tmp_path, turn=turn) as server, clients_of(server.url) as c:
        alice, guest = await c.user("alice"), await c.guest()
        assert await alice.get("voip/turnServer") == {
            "username": "everybody",
            "password": "south",
            "uris": list(URIS),
            "ttl": 86_400,
        }
        with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
            await guest.get("voip/turnServer")
