import json

import pytest

from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.event_fields import MAX_PATH_LENGTH, EventFields

EVENT = {
    "content": {"body": "hi", "m.relates_to": {"rel_type": "m.thread", "event_id": "$x"}},
    "sender": "@a:b",
    "type": "m.room.message",
    "unsigned": {"age": 3},
}


@pytest.mark.parametrize(
    ("paths", "selected"),
    [
        (["type"], {"type": "m.room.message"}),
        (["content.body", "sender"], {"content": {"body": "hi"}, "sender": "@a:b"}),
        (
            [r"content.m\.relates_to.rel_type"],
            {"content": {"m.relates_to": {"rel_type": "m.thread"}}},
        ),
        (["content", "content.body"], {"content": EVENT["content"]}),
        (["content.body", "content"], {"content": EVENT["content"]}),
        (["content.absent", "absent", "type.too.deep"], {}),
        (["content.body.deeper"], {}),
    ],
)
def test_only_the_wanted_properties_are_selected(paths, selected):
    fields = EventFields.of(paths)
    assert fields.select(EVENT) == selected
    assert json.loads(fields.select_json(json.dumps(EVENT).encode())) == selected


def test_the_event_itself_is_left_alone():
    before = json.dumps(EVENT)
    EventFields.of(["content.body"]).select(EVENT)
    assert json.dumps(EVENT) == before


def test_a_path_deeper_than_any_event_is_refused():
    deepest = ".".join(["a"] * MAX_PATH_LENGTH)
    assert EventFields.of([deepest]).select({"a": {}}) == {}
    with pytest.raises(InvalidJson):
        EventFields.of([deepest + ".a"])
