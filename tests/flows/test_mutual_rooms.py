"""Spec: client-server-api/#mutual-rooms"""

import pytest

from tests.support.client import refused

UNSTABLE = "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms"


async def shares(client, other, **query):
    return await client.get("/_matrix/client/v1/mutual_rooms", user_id=other, **query)


async def test_the_rooms_in_which_both_are_joined_are_listed(alice, bob, carol):
    shared = [await alice.creates_room(preset="public_chat") for _ in range(2)]
    left = await alice.creates_room(preset="public_chat")
    await alice.creates_room(invite=[bob.user_id])
    for room in (*shared, left):
        await bob.joins(room)
    await bob.leaves(left)
    for one, other in ((alice, bob), (bob, alice)):
        found = await shares(one, other.user_id)
        assert (set(found["joined"]), found["count"]) == (set(shared), 2)
        assert "next_batch" not in found
    assert await shares(alice, carol.user_id) == {"joined": [], "count": 0}


async def test_nobody_shares_rooms_with_who_does_not_exist(alice):
    for user_id in ("@nobody:hs.example", "@a:elsewhere.example"):
        assert await shares(alice, user_id) == {"joined": [], "count": 0}


@pytest.mark.parametrize("user_id", ["@alice:hs.example", "alice", "", "@é:hs.example"])
async def test_one_does_not_ask_for_oneself_or_for_what_is_no_user(alice, user_id):
    with refused(400, "M_INVALID_PARAM"):
        await shares(alice, user_id)


async def test_the_parameter_is_required_and_tokens_are_checked(alice, bob):
    with refused(400, "M_MISSING_PARAM"):
        await alice.get("/_matrix/client/v1/mutual_rooms")
    with refused(400, "M_INVALID_PARAM"):
        await shares(alice, bob.user_id, from_="x")


async def test_pages_make_up_the_list(alice, bob, monkeypatch):
    monkeypatch.setattr("homeserver.services.mutual_rooms.MAX_ROOMS", 2)
    rooms = []
    for _ in range(5):
        rooms.append(await alice.creates_room(preset="public_chat"))
        await bob.joins(rooms[-1])
    found = await shares(alice, bob.user_id)
    gathered = found["joined"]
    while "next_batch" in found:
        found = await shares(alice, bob.user_id, from_=found["next_batch"])
        assert found["count"] == 5
        gathered += found["joined"]
    assert sorted(gathered) == sorted(rooms)


async def test_the_names_of_the_proposal_answer_too(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    by_query = await alice.get(UNSTABLE, user_id=bob.user_id)
    by_path = await alice.get(f"{UNSTABLE}/{bob.user_id}")
    assert by_query == by_path == {"joined": [room], "count": 1}
