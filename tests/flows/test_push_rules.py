"""Spec: client-server-api/#push-rules-api"""

import asyncio
import json

import pytest

from homeserver.protocol.push_rules.user_rules import MAX_SINGLE_WILDCARDS
from tests.support.account_data import global_account_data
from tests.support.client import quoted, refused

CAKE = {"pattern": "cake*lie", "actions": ["notify"]}


def rule_path(kind, rule_id, *more):
    return f"pushrules/global/{kind}/{quoted(rule_id, *more)}"


async def puts_rule(client, kind, rule_id, body=None, **place):
    body = {"actions": []} if body is None else body
    assert await client.put(rule_path(kind, rule_id), body, **place) == {}


async def rules_of(client):
    """The rules by kind, their IDs only."""
    rules = (await client.get("pushrules/"))["global"]
    return {kind: [rule["rule_id"] for rule in rules[kind]] for kind in rules}


async def own_rules(client, kind):
    return [rule_id for rule_id in (await rules_of(client))[kind] if not rule_id.startswith(".")]


async def test_everybody_has_the_default_rules(alice, bob):
    rules = await rules_of(alice)
    assert rules == await rules_of(bob)
    assert rules["override"][:2] == [".m.rule.master", ".m.rule.suppress_notices"]
    assert rules["underride"][0] == ".m.rule.call"
    assert rules["content"] == rules["room"] == rules["sender"] == []


async def test_the_global_rules_are_those_of_the_only_set(alice):
    everything = await alice.get("pushrules/")
    assert everything == {"global": await alice.get("pushrules/global/")}


async def test_default_rules_speak_of_their_owner(alice):
    rule = await alice.get(rule_path("override", ".m.rule.invite_for_me"))
    assert rule["default"] is True
    assert {"kind": "event_match", "key": "state_key", "pattern": alice.user_id} in rule[
        "conditions"
    ]


async def test_a_rule_is_read_as_it_was_written(alice):
    await puts_rule(alice, "content", "nocake", CAKE)
    expected = {"rule_id": "nocake", "default": False, "enabled": True, **CAKE}
    assert await alice.get(rule_path("content", "nocake")) == expected
    assert (await alice.get("pushrules/global/"))["content"] == [expected]


async def test_a_new_rule_is_the_first_of_the_users_own(alice):
    for rule_id in ("one", "two"):
        await puts_rule(alice, "override", rule_id)
    rules = (await rules_of(alice))["override"]
    assert rules[:4] == [".m.rule.master", "two", "one", ".m.rule.suppress_notices"]


async def test_rules_are_placed_relative_to_others(alice):
    await puts_rule(alice, "room", "!a:x")
    await puts_rule(alice, "room", "!b:x", after="!a:x")
    await puts_rule(alice, "room", "!c:x", before="!b:x")
    assert await own_rules(alice, "room") == ["!a:x", "!c:x", "!b:x"]
    await puts_rule(alice, "room", "!a:x", after="!b:x", before="!b:x")
    assert await own_rules(alice, "room") == ["!c:x", "!a:x", "!b:x"]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("anchor", ["nowhere", ".m.rule.master", ""])
async def test_rules_cannot_be_placed_relative_to_what_is_not_there(alice, place, anchor):
    with refused(400, "M_UNKNOWN"):
        await puts_rule(alice, "override", "x", **{place: anchor})
    assert await own_rules(alice, "override") == []


async def test_a_rule_that_is_replaced_stays_disabled(alice):
    await puts_rule(alice, "content", "x", CAKE)
    await alice.put(rule_path("content", "x", "enabled"), {"enabled": False})
    await puts_rule(alice, "content", "x", {"pattern": "y", "actions": []})
    rule = await alice.get(rule_path("content", "x"))
    assert (rule["pattern"], rule["enabled"]) == ("y", False)


async def test_a_deleted_rule_is_gone(alice):
    await puts_rule(alice, "sender", "@spam:x")
    assert await alice.delete(rule_path("sender", "@spam:x")) == {}
    assert await own_rules(alice, "sender") == []
    for asked in (alice.delete, alice.get):
        with refused(404, "M_NOT_FOUND"):
            await asked(rule_path("sender", "@spam:x"))


@pytest.mark.parametrize(
    ("kind", "rule_id"),
    [("override", ".m.rule.master"), ("underride", "x"), ("room", "!none:x"), ("content", "")],
)
async def test_what_is_not_the_users_own_cannot_be_deleted(alice, kind, rule_id):
    with refused(404, "M_NOT_FOUND"):
        await alice.delete(rule_path(kind, rule_id))


async def test_any_rule_is_enabled_and_disabled(alice):
    await puts_rule(alice, "content", "x", CAKE)
    for kind, rule_id in (("content", "x"), ("override", ".m.rule.master")):
        for is_enabled in (True, False, True):
            body = {"enabled": is_enabled}
            assert await alice.put(rule_path(kind, rule_id, "enabled"), body) == {}
            assert await alice.get(rule_path(kind, rule_id, "enabled")) == body
            assert (await alice.get(rule_path(kind, rule_id)))["enabled"] is is_enabled


async def test_the_actions_of_any_rule_are_changed(alice):
    await puts_rule(alice, "content", "x", CAKE)
    actions = ["notify", {"set_tweak": "sound", "value": "bing"}, {"org.example": 1}]
    for kind, rule_id in (("content", "x"), ("underride", ".m.rule.message")):
        path = rule_path(kind, rule_id, "actions")
        assert await alice.put(path, {"actions": actions}) == {}
        assert await alice.get(path) == {"actions": actions}
        assert (await alice.get(rule_path(kind, rule_id)))["actions"] == actions


async def test_historical_actions_are_stripped(alice):
    await puts_rule(alice, "room", "!a:x", {"actions": ["dont_notify", "coalesce"]})
    assert (await alice.get(rule_path("room", "!a:x")))["actions"] == []


@pytest.mark.parametrize("part", ["enabled", "actions"])
async def test_rules_that_do_not_exist_have_no_parts(alice, part):
    path = rule_path("override", ".m.rule.none", part)
    with refused(404, "M_NOT_FOUND"):
        await alice.get(path)
    with refused(404, "M_NOT_FOUND"):
        await alice.put(path, {"enabled": True, "actions": []})


async def test_rules_that_are_set_at_once_are_all_kept(alice):
    rooms = [f"!{number}:x" for number in range(10)]
    await asyncio.gather(*(puts_rule(alice, "room", room) for room in rooms))
    assert set(await own_rules(alice, "room")) == set(rooms)


async def test_users_have_rules_of_their_own(alice, bob):
    await puts_rule(alice, "content", "x", CAKE)
    assert await own_rules(bob, "content") == []


async def test_sync_tells_all_rules_at_first_and_again_when_they_change(alice):
    first = await alice.syncs()
    assert global_account_data(first) == {"m.push_rules": await alice.get("pushrules/")}
    await puts_rule(alice, "room", "!a:x")
    await alice.put(rule_path("override", ".m.rule.master", "enabled"), {"enabled": True})
    second = await alice.syncs(first["next_batch"])
    assert global_account_data(second) == {"m.push_rules": await alice.get("pushrules/")}
    assert "account_data" not in await alice.syncs(second["next_batch"])


async def test_rules_stay_when_the_server_is_asked_again_later(alice, clients):
    await puts_rule(alice, "content", "x", CAKE)
    again = clients.nobody()
    again.access_token = alice.access_token
    assert await own_rules(again, "content") == ["x"]


@pytest.mark.parametrize(
    ("kind", "rule_id", "body", "errcode"),
    [
        ("override", ".x", {"actions": []}, "M_BAD_JSON"),
        ("override", ".m.rule.master", {"actions": []}, "M_BAD_JSON"),
        ("override", "a/b", {"actions": []}, "M_BAD_JSON"),
        ("override", "a\\b", {"actions": []}, "M_BAD_JSON"),
        ("override", "", {"actions": []}, "M_BAD_JSON"),
        ("override", "\0", {"actions": []}, "M_INVALID_PARAM"),
        ("nothing", "x", {"actions": []}, "M_INVALID_PARAM"),
        ("override", "x", {}, "M_BAD_JSON"),
        ("override", "x", {"actions": "notify"}, "M_BAD_JSON"),
        ("override", "x", {"actions": [1]}, "M_BAD_JSON"),
        ("override", "x", {"actions": [], "conditions": {}}, "M_BAD_JSON"),
        ("override", "x", {"actions": [], "conditions": ["x"]}, "M_BAD_JSON"),
        ("override", "x", {"actions": [], "conditions": [{}]}, "M_BAD_JSON"),
        ("content", "x", {"actions": []}, "M_BAD_JSON"),
        ("content", "x", {"actions": [], "pattern": 1}, "M_BAD_JSON"),
        ("content", "x", {"actions": [], "pattern": "x" * 9_000}, "M_BAD_JSON"),
    ],
)
async def test_bad_rules_are_refused(alice, kind, rule_id, body, errcode):
    with refused(400, errcode):
        await puts_rule(alice, kind, rule_id, body)


async def test_patterns_that_cost_too_much_are_refused(alice):
    pattern = "?" * (MAX_SINGLE_WILDCARDS + 1)
    with refused(413, "M_TOO_LARGE"):
        await puts_rule(alice, "content", "x", {"actions": [], "pattern": pattern})


@pytest.mark.parametrize(
    ("part", "body", "errcode"),
    [
        ("enabled", {}, "M_MISSING_PARAM"),
        ("enabled", {"enabled": "true"}, "M_BAD_JSON"),
        ("enabled", {"enabled": 1}, "M_BAD_JSON"),
        ("enabled", {"enabled": None}, "M_BAD_JSON"),
        ("actions", {}, "M_MISSING_PARAM"),
        ("actions", {"actions": None}, "M_BAD_JSON"),
        ("actions", {"actions": [1]}, "M_BAD_JSON"),
        ("actions", {"actions": ["x" * 9_000]}, "M_BAD_JSON"),
    ],
)
async def test_bad_parts_are_refused(alice, part, body, errcode):
    with refused(400, errcode):
        await alice.put(rule_path("override", ".m.rule.master", part), body)


@pytest.mark.parametrize("path", ["pushrules/device/", "pushrules/global/override/x/y"])
async def test_there_is_nothing_beside_the_global_rules(alice, path):
    with refused(404, "M_UNRECOGNIZED"):
        await alice.get(path)


async def test_guests_have_no_push_rules_to_change(guest):
    with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
        await guest.get("pushrules/")


async def test_all_rules_of_a_user_have_a_limit_together(alice, monkeypatch):
    await puts_rule(alice, "content", "x", CAKE)
    size = len(json.dumps((await alice.get("pushrules/global/"))["content"]))
    monkeypatch.setattr("homeserver.services.push_rules.MAX_RULES_BYTES", size)
    with refused(413, "M_TOO_LARGE"):
        await puts_rule(alice, "content", "y", {"actions": [], "pattern": "y" * size})
    await alice.delete(rule_path("content", "x"))
