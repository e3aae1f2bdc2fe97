"""Spec: client-server-api/#e2e-extensions-to-sync, client-server-api/#key-management-api"""

import pytest

from tests.support.client import answer_of
from tests.support.key_uploads import CrossSigner, uploads_keys
from tests.support.reading import waiting_sync

ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


class Follower:
    """A client that follows whose devices have changed, by /sync and by keys/changes."""

    def __init__(self, client):
        self.client = client
        self.since = None

    @classmethod
    async def of(cls, client):
        follower = cls(client)
        follower.since = (await client.syncs())["next_batch"]
        return follower

    async def hears(self):
        """Return who has (changed, left) since the last time."""
        answer = await self.client.syncs(self.since)
        lists = answer.get("device_lists", {"changed": [], "left": []})
        now = answer["next_batch"]
        assert await self.client.get("keys/changes", from_=self.since, to=now) == lists
        self.since = now
        return lists["changed"], lists["left"]


NOTHING = ([], [])


async def encrypted_room(creator, *members):
    state = [{"type": "m.room.encryption", "content": ENCRYPTION}]
    room_id = await creator.creates_room(preset="public_chat", initial_state=state)
    for member in members:
        await member.joins(room_id)
    return room_id


async def test_an_initial_sync_has_no_device_lists(alice, bob):
    await encrypted_room(alice, bob)
    await uploads_keys(bob)
    assert "device_lists" not in await alice.syncs()


async def test_who_shares_a_room_hears_of_new_keys_and_so_does_the_user(alice, bob, carol):
    await encrypted_room(alice, bob)
    followers = [await Follower.of(client) for client in (alice, bob, carol)]
    await uploads_keys(bob)
    heard = [await follower.hears() for follower in followers]
    assert heard == [([bob.user_id], []), ([bob.user_id], []), NOTHING]
    await uploads_keys(bob, one_time=2)
    heard = [await follower.hears() for follower in followers]
    assert heard[0] == ([bob.user_id], [])
    await bob.put(f"devices/{bob.device_id}", {"display_name": "phone"})
    assert [await follower.hears() for follower in followers] == [NOTHING] * 3


async def test_a_waiting_client_hears_of_new_keys(server, alice, bob):
    await encrypted_room(alice, bob)
    since = (await Follower.of(alice)).since
    async with waiting_sync(server, alice, since) as waiting:
        await uploads_keys(bob)
        assert (await waiting)["device_lists"]["changed"] == [bob.user_id]


async def test_a_device_without_keys_is_nobodys_business(server, alice, bob, clients):
    await encrypted_room(alice, bob)
    follower = await Follower.of(alice)
    identifier = {"type": "m.id.user", "user": bob.user_id}
    other = clients.nobody()
    other._takes_session(
        await other.post(
            "login",
            {"type": "m.login.password", "identifier": identifier, "password": "wordpass-1"},
        )
    )
    assert await follower.hears() == NOTHING
    await uploads_keys(other)
    assert await follower.hears() == ([bob.user_id], [])
    await other.post("logout")
    await server.base.tail.catch_up()
    assert await follower.hears() == ([bob.user_id], [])
    await bob.post("logout")
    await server.base.tail.catch_up()
    assert await follower.hears() == NOTHING


async def test_new_cross_signing_keys_are_told(alice, bob):
    await encrypted_room(alice, bob)
    follower = await Follower.of(alice)
    signer = CrossSigner(bob.user_id)
    await bob.post("keys/device_signing/upload", signer.keys)
    assert await follower.hears() == ([bob.user_id], [])
    await bob.post("keys/device_signing/upload", signer.keys)
    assert await follower.hears() == NOTHING
    device = await uploads_keys(bob)
    await follower.hears()
    signed = signer.signs_device(device.device_keys())
    await bob.post("keys/signatures/upload", {bob.user_id: {bob.device_id: signed}})
    assert await follower.hears() == ([bob.user_id], [])


async def test_who_joins_hears_of_all_and_all_hear_of_who_joins(alice, bob, carol):
    room = await encrypted_room(alice, bob)
    followers = [await Follower.of(client) for client in (alice, carol)]
    await carol.joins(room)
    heard = [await follower.hears() for follower in followers]
    assert heard == [([carol.user_id], []), (sorted([alice.user_id, bob.user_id]), [])]
    await alice.sets(room, "m.room.topic", {"topic": "x"})
    member = {"membership": "join", "displayname": "C"}
    await carol.sets(room, "m.room.member", member, carol.user_id)
    assert [await follower.hears() for follower in followers] == [NOTHING] * 2


async def test_who_leaves_is_left_unless_another_room_is_shared(alice, bob, carol):
    room = await encrypted_room(alice, bob, carol)
    other = await encrypted_room(alice, carol)
    followers = [await Follower.of(client) for client in (alice, bob, carol)]
    await carol.leaves(room)
    everybody = [await follower.hears() for follower in followers]
    assert everybody == [NOTHING, ([], [carol.user_id]), ([], [bob.user_id])]
    await alice.kicks(other, carol)
    assert await followers[0].hears() == ([], [carol.user_id])
    assert await followers[2].hears() == ([], [alice.user_id])


async def test_who_comes_back_has_changed_even_if_all_happened_in_between(alice, bob):
    room = await encrypted_room(alice, bob)
    follower = await Follower.of(alice)
    await bob.leaves(room)
    await uploads_keys(bob)
    await bob.joins(room)
    assert await follower.hears() == ([bob.user_id], [])
    await bob.leaves(room)
    await bob.joins(room)
    assert await follower.hears() == NOTHING


async def test_encryption_turned_on_is_told_to_all_members(alice, bob, carol):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await carol.joins(room)
    follower = await Follower.of(alice)
    await alice.sets(room, "m.room.encryption", ENCRYPTION)
    assert await follower.hears() == (sorted([bob.user_id, carol.user_id]), [])
    await alice.sets(room, "m.room.encryption", {**ENCRYPTION, "rotation_period_msgs": 5})
    assert await follower.hears() == NOTHING


async def test_an_encrypted_room_that_is_left_counts_though_another_room_is_shared(alice, bob):
    room = await encrypted_room(alice, bob)
    plain = await alice.creates_room(preset="public_chat")
    await bob.joins(plain)
    follower = await Follower.of(alice)
    await bob.leaves(room)
    assert await follower.hears() == ([], [bob.user_id])
    await uploads_keys(bob)
    assert await follower.hears() == ([bob.user_id], [])
    await bob.joins(room)
    assert await follower.hears() == ([bob.user_id], [])


async def test_invited_users_share_nothing_yet(alice, bob):
    room = await encrypted_room(alice)
    followers = [await Follower.of(client) for client in (alice, bob)]
    await alice.invites(room, bob)
    assert [await follower.hears() for follower in followers] == [NOTHING] * 2
    await uploads_keys(bob)
    assert await followers[0].hears() == NOTHING


async def test_a_client_that_was_away_for_long_hears_the_same(server, alice, bob, carol):
    room = await encrypted_room(alice, bob, carol)
    follower = await Follower.of(alice)
    await uploads_keys(bob)
    await carol.leaves(room)
    other = await alice.creates_room(preset="public_chat")
    await bob.joins(other)
    server.base.tail._restart(server.base.tail.position)
    assert await follower.hears() == ([bob.user_id], [carol.user_id])
    assert await follower.hears() == NOTHING


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ({"to": "s1"}, (400, "M_MISSING_PARAM")),
        ({"from_": "s1", "to": "x"}, (400, "M_INVALID_PARAM")),
        ({"from_": "x", "to": "s1"}, (400, "M_INVALID_PARAM")),
        ({"from_": "s9000000000", "to": "s9000000001"}, (400, "M_INVALID_PARAM")),
        ({"from_": "s1", "to": "s9000000001"}, (400, "M_INVALID_PARAM")),
        ({"from_": "s0", "to": "s1"}, 200),
        ({"from_": "s1", "to": "s0"}, 200),
        ({"from_": "s0"}, 200),
    ],
)
async def test_changes_take_tokens_of_sync(alice, query, refusal):
    assert await answer_of(alice.get("keys/changes", **query)) == refusal
