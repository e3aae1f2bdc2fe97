import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.relations import (
    ANNOTATION,
    REFERENCE,
    REPLACEMENT,
    THREAD,
    Relation,
    annotation_identity,
    is_annotatable,
    is_valid_thread_root,
    may_replace,
    relation_of,
    replacement_order,
    reply_target_of,
)

ALICE = UserID("@alice:example.org")
ORIGINAL = EventID("$original")


def relating(rel_type, event_id=ORIGINAL, **more):
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id} | more}


def an_event(**changes):
    facts = {
        "event_id": ORIGINAL,
        "room_id": RoomID("!room:example.org"),
        "room_version": "10",
        "type": "m.room.message",
        "sender": ALICE,
        "content": {"body": "x"},
        "origin_server_ts": 1,
        "depth": 1,
        "prev_events": (),
        "auth_events": (),
        "pdu": {},
    }
    return Event(**facts | changes)


def an_edit(**changes):
    content = relating(REPLACEMENT) | {"m.new_content": {"body": "y"}}
    return an_event(**{"event_id": EventID("$edit"), "content": content} | changes)


def test_a_threaded_reply_is_read_with_all_it_says():
    content = relating(
        THREAD, "$root", is_falling_back=True, **{"m.in_reply_to": {"event_id": "$target"}}
    )
    assert relation_of(content) == Relation(
        rel_type=THREAD,
        event_id=EventID("$root"),
        is_falling_back=True,
        in_reply_to=EventID("$target"),
    )


def test_a_reaction_has_a_key():
    assert relation_of(relating(ANNOTATION, key="👍")).key == "👍"


@pytest.mark.parametrize("rel_type", [REFERENCE, "org.example.custom"])
def test_a_key_is_only_read_of_annotations(rel_type):
    assert relation_of(relating(rel_type, key="👍")).key is None


def test_a_rich_reply_alone_is_no_relation():
    content = {"m.relates_to": {"m.in_reply_to": {"event_id": "$target"}}}
    assert relation_of(content) is None
    assert reply_target_of(content) == "$target"


@pytest.mark.parametrize(
    "relates_to",
    [
        None,
        [],
        "x",
        {},
        {"rel_type": THREAD},
        {"event_id": "$x"},
        {"rel_type": 1, "event_id": "$x"},
        {"rel_type": "", "event_id": "$x"},
        {"rel_type": "\0", "event_id": "$x"},
        {"rel_type": "x" * 256, "event_id": "$x"},
        {"rel_type": THREAD, "event_id": "x"},
        {"rel_type": THREAD, "event_id": 1},
        {"rel_type": THREAD, "event_id": "$" + "x" * 300},
        {"m.in_reply_to": []},
        {"m.in_reply_to": {}},
        {"m.in_reply_to": {"event_id": ["$x"]}},
    ],
)
def test_relations_against_the_schema_are_ignored(relates_to):
    content = {"m.relates_to": relates_to}
    assert relation_of(content) is None
    assert reply_target_of(content) is None


def test_an_edit_of_ones_own_message_is_valid():
    assert may_replace(an_event(), an_edit(), original_is_redacted=False)


def test_an_edit_of_an_encrypted_message_hides_its_new_content():
    edit = an_edit(type="m.room.encrypted", content=relating(REPLACEMENT))
    original = an_event(type="m.room.encrypted")
    assert may_replace(original, edit, original_is_redacted=False)


@pytest.mark.parametrize(
    "content", [relating(THREAD, "$root"), relating(ANNOTATION, "$x", key="k")]
)
def test_children_of_other_relations_may_be_edited(content):
    assert may_replace(an_event(content=content), an_edit(), original_is_redacted=False)


@pytest.mark.parametrize(
    ("original", "edit"),
    [
        ({"room_id": RoomID("!other:example.org")}, {}),
        ({"event_id": EventID("$another")}, {}),
        ({}, {"sender": UserID("@bob:example.org")}),
        ({}, {"type": "m.sticker"}),
        ({"state_key": ""}, {}),
        ({}, {"state_key": ""}),
        ({"content": relating(REPLACEMENT, "$older")}, {}),
        ({}, {"content": relating(REPLACEMENT)}),
        ({}, {"content": relating(REPLACEMENT) | {"m.new_content": "text"}}),
        ({}, {"content": relating(REFERENCE) | {"m.new_content": {}}}),
        ({}, {"content": {}}),
    ],
)
def test_an_edit_that_breaks_a_rule_is_ignored(original, edit):
    assert not may_replace(an_event(**original), an_edit(**edit), original_is_redacted=False)


def test_a_redacted_message_is_not_edited():
    assert not may_replace(an_event(), an_edit(), original_is_redacted=True)


def test_the_latest_edit_is_that_of_the_greatest_time_then_event_id():
    edits = [
        an_edit(origin_server_ts=5, event_id=EventID("$a")),
        an_edit(origin_server_ts=5, event_id=EventID("$b")),
        an_edit(origin_server_ts=4, event_id=EventID("$z")),
    ]
    assert max(edits, key=replacement_order).event_id == "$b"


@pytest.mark.parametrize("rel_type", [ANNOTATION, REPLACEMENT, THREAD, REFERENCE])
def test_only_events_without_a_relation_start_threads(rel_type):
    assert not is_valid_thread_root(relation_of(relating(rel_type)))
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": "$target"}}}
    assert is_valid_thread_root(relation_of(reply))
    assert is_valid_thread_root(relation_of({}))


@pytest.mark.parametrize(
    ("rel_type", "expected"),
    [(ANNOTATION, False), (REPLACEMENT, False), (THREAD, True), (REFERENCE, True)],
)
def test_neither_annotations_nor_edits_are_annotated(rel_type, expected):
    assert is_annotatable(relation_of(relating(rel_type))) is expected
    assert is_annotatable(None)


def test_annotations_are_duplicates_by_target_type_key_and_sender():
    reaction = annotation_identity("m.reaction", ALICE, relating(ANNOTATION, key="👍"))
    assert reaction == (ORIGINAL, "m.reaction", "👍", ALICE)
    assert reaction == annotation_identity("m.reaction", ALICE, relating(ANNOTATION, key="👍", n=1))
    assert annotation_identity("m.reaction", ALICE, relating(ANNOTATION)) is None
    assert annotation_identity("m.reaction", ALICE, relating(ANNOTATION, key=1)) is None
    assert annotation_identity("m.reaction", ALICE, relating(ANNOTATION, key="+\0")) is None
    assert annotation_identity("m.reaction", ALICE, {}) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rel_type", "event_id", "m.in_reply_to", "key", "x"]), inner
        )
    ),
)


@given(json_values)
def test_reading_a_relation_never_raises(relates_to):
    relation = relation_of({"m.relates_to": relates_to})
    assert relation is None or relation.rel_type == relates_to["rel_type"]
