"""Inviting by address. Spec: client-server-api/#third-party-invites"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.errors import Forbidden, InvalidParam
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.local_only import NoPeers
from homeserver.run.address_layer import third_party_invites
from homeserver.run.compose import RunningServer
from homeserver.services.third_party_invites import BoundInvite, ThirdPartyInvites
from tests.support.client import Client, ClientMaker, answer_of, clients_of, quoted, refused
from tests.support.identity_server import FakeIdentityServer, identity_server
from tests.support.server import server_of

CAROL = {"medium": "email", "address": "Carol@example.org"}


@pytest.fixture
async def identity() -> AsyncIterator[FakeIdentityServer]:
    async with identity_server() as running:
        yield running


@pytest.fixture
async def server(
    database_dsn: str, tmp_path: Path, identity: FakeIdentityServer
) -> AsyncIterator[RunningServer]:
    async with server_of(database_dsn, tmp_path, **identity.sections()) as running:
        yield running


@pytest.fixture
async def clients(server: RunningServer) -> AsyncIterator[ClientMaker]:
    async with clients_of(server.url) as maker:
        yield maker


@pytest.fixture
def invites(server: RunningServer) -> ThirdPartyInvites:
    """What the federation endpoints call."""
    return third_party_invites(
        server.base,
        server.rooms,
        server.accounts.addresses.servers,
        peers=NoPeers(),
        exchange=NoPeers(),
    )


async def invite(client: Client, room: str, identity: FakeIdentityServer, **form: Any) -> None:
    body = {**CAROL, **identity.credentials, **form}
    assert await client.post(f"rooms/{quoted(room)}/invite", body) == {}


async def test_a_known_address_is_an_ordinary_invite(
    alice: Client, bob: Client, identity: FakeIdentityServer
) -> None:
    identity.bindings["email", "carol@example.org"] = bob.user_id
    room = await alice.creates_room()
    await invite(alice, room, identity, reason="come")
    content = await alice.reads_state(room, "m.room.member", bob.user_id)
    assert (content["membership"], content["reason"]) == ("invite", "come")
    assert identity.invites == []
    assert await bob.joins(room) == room


async def test_an_unknown_address_is_kept_by_the_identity_server(
    alice: Client, identity: FakeIdentityServer
) -> None:
    room = await alice.creates_room(name="Den", topic="x", room_alias_name="den")
    await invite(alice, room, identity)
    [kept] = identity.invites
    assert kept == {
        "medium": "email",
        "address": "carol@example.org",
        "room_id": room,
        "sender": alice.user_id,
        "room_name": "Den",
        "room_join_rules": "invite",
        "room_alias": "#den:hs.example",
        "sender_display_name": kept["sender_display_name"],
    }
    content = await alice.reads_state(room, "m.room.third_party_invite", identity.token)
    assert content["display_name"] == "c...@e..."
    assert content["public_key"] == identity.key.verify_key
    assert content["key_validity_url"] == content["public_keys"][0]["key_validity_url"]
    assert "carol" not in str(content)


async def test_whoever_can_show_the_signature_comes_in(
    alice: Client, carol: Client, bob: Client, identity: FakeIdentityServer
) -> None:
    room = await alice.creates_room()
    await invite(alice, room, identity)
    signed = identity.signs(carol.user_id, sender=alice.user_id)
    with refused(403, "M_FORBIDDEN"):
        await bob.joins(room, third_party_signed=signed)
    assert await carol.joins(room, third_party_signed=signed) == room
    history = await alice.reads_messages(room)
    [invited] = [
        event
        for event in history["chunk"]
        if event["type"] == "m.room.member" and event["content"]["membership"] == "invite"
    ]
    assert (invited["sender"], invited["state_key"]) == (alice.user_id, carol.user_id)
    assert invited["content"]["third_party_invite"] == {
        "display_name": "c...@e...",
        "signed": signed,
    }
    # Shown again, it changes nothing.
    assert await carol.joins(room, third_party_signed=signed) == room


async def test_by_room_id_too(alice: Client, carol: Client, identity: FakeIdentityServer) -> None:
    room = await alice.creates_room()
    await invite(alice, room, identity)
    signed = identity.signs(carol.user_id, sender=alice.user_id)
    path = f"rooms/{quoted(room)}/join"
    assert (await carol.post(path, {"third_party_signed": signed}))["room_id"] == room


async def test_wrong_proofs(alice: Client, carol: Client, identity: FakeIdentityServer) -> None:
    room = await alice.creates_room()
    await invite(alice, room, identity)
    signed = identity.signs(carol.user_id, sender=alice.user_id)
    forbidden, invalid = (403, "M_FORBIDDEN"), (400, "M_INVALID_PARAM")
    forged = {"127.0.0.1": {"ed25519:1": "A" * 86}}
    for proof, refusal in [
        ({}, invalid),
        ({**signed, "mxid": 1}, invalid),
        ({**signed, "mxid": "carol"}, invalid),
        ({**signed, "token": None}, invalid),
        ({**signed, "signatures": []}, invalid),
        ({**signed, "mxid": alice.user_id}, forbidden),
        ({**signed, "token": "other"}, forbidden),
        ({**signed, "sender": carol.user_id}, forbidden),
        ({**signed, "signatures": {}}, forbidden),
        ({**signed, "signatures": forged}, forbidden),
        ({**signed, "more": 1}, forbidden),
    ]:
        assert await answer_of(carol.joins(room, third_party_signed=proof)) == refusal, proof
    assert await answer_of(carol.joins(room, third_party_signed="x")) == (400, "M_BAD_JSON")
    identity.keys_are_valid = False
    assert await answer_of(carol.joins(room, third_party_signed=signed)) == forbidden


async def test_a_withdrawn_invite_lets_nobody_in(
    alice: Client, carol: Client, identity: FakeIdentityServer
) -> None:
    room = await alice.creates_room()
    await invite(alice, room, identity)
    signed = identity.signs(carol.user_id, sender=alice.user_id)
    await alice.sets(room, "m.room.third_party_invite", {}, identity.token)
    with refused(403, "M_FORBIDDEN"):
        await carol.joins(room, third_party_signed=signed)


async def test_who_may_not_invite_tells_no_identity_server(
    alice: Client, bob: Client, carol: Client, identity: FakeIdentityServer
) -> None:
    room = await alice.creates_room(power_level_content_override={"invite": 50})
    await alice.invites(room, bob)
    await bob.joins(room)
    for client in (bob, carol):
        with refused(403, "M_FORBIDDEN"):
            await invite(client, room, identity)
    with refused(403, "M_FORBIDDEN"):
        await invite(alice, "!unknown:hs.example", identity)
    assert identity.asked == []


async def test_a_room_is_created_with_invites_by_address(
    alice: Client, bob: Client, identity: FakeIdentityServer
) -> None:
    identity.bindings["email", "bob@example.org"] = bob.user_id
    known = {"medium": "email", "address": "bob@example.org", **identity.credentials}
    room = await alice.creates_room(
        invite_3pid=[known, {**CAROL, **identity.credentials}], is_direct=True
    )
    content = await alice.reads_state(room, "m.room.member", bob.user_id)
    assert (content["membership"], content["is_direct"]) == ("invite", True)
    assert len(identity.invites) == 1


async def test_wrong_invites(alice: Client, identity: FakeIdentityServer) -> None:
    room = await alice.creates_room()
    wrong_forms: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"id_server": "elsewhere.example"}, (403, "M_SERVER_NOT_TRUSTED")),
        ({"id_server": "no server"}, (400, "M_INVALID_PARAM")),
        ({"address": "carol"}, (400, "M_INVALID_PARAM")),
        ({"medium": "pigeon"}, (400, "M_INVALID_PARAM")),
        ({"medium": 1}, (400, "M_BAD_JSON")),
        ({"id_access_token": "wrong"}, (403, "M_FORBIDDEN")),
    ]
    for form, refusal in wrong_forms:
        assert await answer_of(invite(alice, room, identity, **form)) == refusal, form
    path = f"rooms/{quoted(room)}/invite"
    for name in ("id_server", "id_access_token", "medium", "address"):
        whole = {**CAROL, **identity.credentials}
        del whole[name]
        assert await answer_of(alice.post(path, whole)) == (400, "M_MISSING_PARAM"), name
    wrong = {**CAROL, **identity.credentials, "id_server": "elsewhere.example"}
    before = await alice.joined_rooms()
    with refused(403, "M_SERVER_NOT_TRUSTED"):
        await alice.creates_room(invite_3pid=[wrong])
    assert await alice.joined_rooms() == before


async def test_an_identity_server_that_answers_nonsense(
    alice: Client, identity: FakeIdentityServer
) -> None:
    room = await alice.creates_room()
    for answer in [
        {},
        {"lookup_pepper": 1, "algorithms": ["sha256"]},
        {"lookup_pepper": "x", "algorithms": ["none"]},
        {"lookup_pepper": "x", "algorithms": ["sha256"], "mappings": {}, "token": ""},
    ]:
        identity.refuses = (200, answer)
        asked = answer_of(invite(alice, room, identity))
        assert await asked == (502, "M_UNKNOWN"), answer


async def test_a_bound_address_invites_its_user(
    alice: Client,
    carol: Client,
    bob: Client,
    identity: FakeIdentityServer,
    invites: ThirdPartyInvites,
) -> None:
    room = await alice.creates_room()
    await invite(alice, room, identity)

    def of(user: Client, signed: Any) -> BoundInvite:
        return BoundInvite(
            mxid=UserID(user.user_id),
            room_id=RoomID(room),
            sender=UserID(alice.user_id),
            signed=signed,
        )

    # Anybody can call the endpoint: what is not signed for the user is passed over.
    for wrong in (identity.signs(bob.user_id), {}, {**identity.signs(carol.user_id), "token": "x"}):
        await invites.bound(UserID(carol.user_id), [of(carol, wrong)])
    assert carol.user_id not in await alice.reads_members(room)
    await invites.bound(UserID(carol.user_id), [of(carol, identity.signs(carol.user_id))])
    assert (await alice.reads_members(room))[carol.user_id] == "invite"
    assert await carol.joins(room) == room
    with pytest.raises(Forbidden):
        await invites.bound(UserID("@x:elsewhere.example"), [])


async def test_another_server_exchanges_an_invite(
    alice: Client, carol: Client, identity: FakeIdentityServer, invites: ThirdPartyInvites
) -> None:
    room = await alice.creates_room()
    await invite(alice, room, identity)
    signed = identity.signs(carol.user_id)
    event: dict[str, Any] = {
        "type": "m.room.member",
        "room_id": room,
        "sender": alice.user_id,
        "state_key": carol.user_id,
        "content": {
            "membership": "invite",
            "third_party_invite": {"display_name": "x", "signed": signed},
        },
    }
    for change in (
        {"type": "m.room.name"},
        {"room_id": "!x:hs.example"},
        {"state_key": alice.user_id},
        {"content": {"membership": "join"}},
        {"content": {"membership": "invite"}},
        {"content": None},
    ):
        with pytest.raises(InvalidParam):
            await invites.exchange(RoomID(room), {**event, **change})
    with pytest.raises(Forbidden):
        await invites.exchange(RoomID(room), {**event, "sender": carol.user_id})
    await invites.exchange(RoomID(room), event)
    assert (await alice.reads_members(room))[carol.user_id] == "invite"
