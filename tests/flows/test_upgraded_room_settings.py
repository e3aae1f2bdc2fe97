"""What users have set for a room holds for its replacement.

Spec: client-server-api/#room-upgrades
"""

from tests.support.account_data import reads_account_data, sets_account_data
from tests.support.client import Refusal, quoted

# The copies follow the log: they may come a moment later than the join.
ATTEMPTS = 500
MUTE = {"kind": "event_match", "key": "room_id"}


async def upgrades(client, room):
    answer = await client.post(f"rooms/{quoted(room)}/upgrade", {"new_version": "12"})
    return answer["replacement_room"]


async def tags(client, room, tag, **content):
    path = f"user/{quoted(client.user_id)}/rooms/{quoted(room)}/tags/{quoted(tag)}"
    assert await client.put(path, content) == {}


async def eventually(read, expected):
    """Read until what is expected is there."""
    found = None
    for _ in range(ATTEMPTS):
        try:
            found = await read()
        except Refusal as refusal:
            found = refusal.errcode
        if found == expected:
            return
    assert found == expected


async def test_tags_come_along(alice, bob):
    old = await alice.creates_room(preset="public_chat")
    await bob.joins(old)
    await tags(alice, old, "m.favourite", order=0.5)
    await tags(bob, old, "u.work")
    new = await upgrades(alice, old)
    await bob.joins(new)
    for member, expected in ((alice, {"m.favourite": {"order": 0.5}}), (bob, {"u.work": {}})):
        path = f"user/{quoted(member.user_id)}/rooms/{quoted(new)}/tags"
        await eventually(lambda path=path, member=member: member.get(path), {"tags": expected})


async def test_push_rules_come_along(alice):
    old = await alice.creates_room()
    override = {"conditions": [{**MUTE, "pattern": old}], "actions": []}
    await alice.put(f"pushrules/global/override/{quoted(old)}", override)
    await alice.put(f"pushrules/global/override/{quoted(old)}/enabled", {"enabled": False})
    await alice.put(f"pushrules/global/room/{quoted(old)}", {"actions": ["notify"]})
    other = {"conditions": [{**MUTE, "pattern": "!other:x"}], "actions": []}
    await alice.put("pushrules/global/override/other", other)
    new = await upgrades(alice, old)

    async def own_rules():
        rules = (await alice.get("pushrules/"))["global"]
        return {
            (kind, rule["rule_id"], rule["enabled"], str(rule.get("conditions")))
            for kind in ("override", "room")
            for rule in rules[kind]
            if not rule["default"]
        }

    def muting(room):
        return ("override", room, False, str([{**MUTE, "pattern": room}]))

    expected = {
        muting(old),
        muting(new),
        ("room", old, True, "None"),
        ("room", new, True, "None"),
        ("override", "other", True, str(other["conditions"])),
    }
    await eventually(own_rules, expected)


async def test_a_direct_chat_stays_one(alice, bob):
    old = await alice.creates_room(invite=[bob.user_id], is_direct=True)
    content = {bob.user_id: [old], "@other:x": ["!other:x"], "odd": 5}
    await sets_account_data(alice, "m.direct", content)
    new = await upgrades(alice, old)
    expected = {**content, bob.user_id: [old, new]}
    await eventually(lambda: reads_account_data(alice, "m.direct"), expected)


async def test_what_the_user_has_set_already_stays(alice, bob):
    old = await alice.creates_room(preset="public_chat")
    await bob.joins(old)
    await tags(bob, old, "u.old")
    new = await upgrades(alice, old)
    await alice.invites(new, bob)
    await tags(bob, new, "u.new")
    await bob.joins(new)
    # A later join whose copy is seen: the one before has been handled.
    marker_old = await bob.creates_room()
    await tags(bob, marker_old, "u.marker")
    marker = await upgrades(bob, marker_old)
    path = f"user/{quoted(bob.user_id)}/rooms/{quoted(marker)}/tags"
    await eventually(lambda: bob.get(path), {"tags": {"u.marker": {}}})
    path = f"user/{quoted(bob.user_id)}/rooms/{quoted(new)}/tags"
    assert await bob.get(path) == {"tags": {"u.new": {}}}


async def test_a_predecessor_of_any_shape_does_no_harm(alice):
    for predecessor in (5, {}, {"room_id": 5}, {"room_id": "x"}, {"room_id": "!gone:x"}):
        await alice.creates_room(creation_content={"predecessor": predecessor})
    old = await alice.creates_room()
    await tags(alice, old, "u.tag")
    new = await upgrades(alice, old)
    path = f"user/{quoted(alice.user_id)}/rooms/{quoted(new)}/tags"
    await eventually(lambda: alice.get(path), {"tags": {"u.tag": {}}})
