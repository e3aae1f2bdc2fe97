"""What the search answers to input that is wrong: one table."""

import pytest

from tests.support.client import answer_of


def criteria(**changes):
    return {"search_categories": {"room_events": {"search_term": "word", **changes}}}


BODIES = [
    ({}, "M_MISSING_PARAM"),
    ([], "M_BAD_JSON"),
    ({"search_categories": []}, "M_BAD_JSON"),
    ({"search_categories": {"room_events": []}}, "M_BAD_JSON"),
    ({"search_categories": {"room_events": {}}}, "M_MISSING_PARAM"),
    (criteria(search_term=None), "M_BAD_JSON"),
    (criteria(search_term=1), "M_BAD_JSON"),
    (criteria(search_term="a\0"), "M_INVALID_PARAM"),
    (criteria(keys="content.body"), "M_BAD_JSON"),
    (criteria(keys=["content.formatted_body"]), "M_INVALID_PARAM"),
    (criteria(keys=[1]), "M_BAD_JSON"),
    (criteria(keys=["content.body"] * 11), "M_INVALID_PARAM"),
    (criteria(filter=[]), "M_BAD_JSON"),
    (criteria(filter={"limit": -1}), "M_BAD_JSON"),
    (criteria(filter={"limit": "1"}), "M_BAD_JSON"),
    (criteria(filter={"rooms": "!a:b"}), "M_BAD_JSON"),
    (criteria(filter={"rooms": ["a:b"]}), "M_BAD_JSON"),
    (criteria(filter={"senders": ["a"]}), "M_BAD_JSON"),
    (criteria(order_by="best"), "M_INVALID_PARAM"),
    (criteria(order_by=1), "M_BAD_JSON"),
    (criteria(event_context=[]), "M_BAD_JSON"),
    (criteria(event_context={"before_limit": -1}), "M_INVALID_PARAM"),
    (criteria(event_context={"after_limit": "1"}), "M_BAD_JSON"),
    (criteria(event_context={"include_profile": 1}), "M_BAD_JSON"),
    (criteria(include_state="yes"), "M_BAD_JSON"),
    (criteria(groupings=[]), "M_BAD_JSON"),
    (criteria(groupings={"group_by": {}}), "M_BAD_JSON"),
    (criteria(groupings={"group_by": ["room_id"]}), "M_BAD_JSON"),
    (criteria(groupings={"group_by": [{}]}), "M_MISSING_PARAM"),
    (criteria(groupings={"group_by": [{"key": "type"}]}), "M_INVALID_PARAM"),
]


async def test_bad_bodies_are_refused(alice):
    answers = [await answer_of(alice.post("search", body)) for body, _ in BODIES]
    assert answers == [(400, errcode) for _, errcode in BODIES]


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "é",
        "s12",
        "e30",  # {}
        "W10",  # []
        "WzAsMSwxXQ",  # [0,1,1]
        "WzAsIjEiLDEsMV0",  # [0,"1",1,1]
        "WzAsOTk5OTk5OTk5OTk5OTk5OTk5OTk5OSwxLDFd",  # [0,9999999999999999999999,1,1]
        "WzAsMSwxLC0xXQ",  # [0,1,1,-1]
        "WzAsMSwxLDEsWyJ0eXBlIiwiYSJdXQ",  # [0,1,1,1,["type","a"]]
        "A" * 5_000,
    ],
)
async def test_tokens_of_something_else_are_refused(alice, token):
    asked = alice.post("search", criteria(), next_batch=token)
    assert await answer_of(asked) == (400, "M_INVALID_PARAM")


async def test_made_up_tokens_show_nothing_more(alice, bob):
    room = await alice.creates_room()
    await alice.sends(room, "word")
    # [9,9007199254740991,9007199254740991,7]
    token = "WzksOTAwNzE5OTI1NDc0MDk5MSw5MDA3MTk5MjU0NzQwOTkxLDdd"
    answer = await bob.post("search", criteria(), next_batch=token)
    assert answer["search_categories"]["room_events"]["results"] == []


async def test_categories_that_are_not_specified_are_not_searched(alice):
    answer = await alice.post("search", {"search_categories": {"people": {"search_term": "a"}}})
    assert answer == {"search_categories": {}}


async def test_guests_and_strangers_do_not_search(clients, guest):
    assert await answer_of(guest.post("search", criteria())) == (403, "M_GUEST_ACCESS_FORBIDDEN")
    nobody = clients.nobody()
    assert await answer_of(nobody.post("search", criteria())) == (401, "M_MISSING_TOKEN")
