import msgspec
import pytest

from homeserver.protocol.filters import EventMatcher, parse_room_event_filter
from homeserver.services.event_filters import record_predicate
from homeserver.storage.events import EventRecord


def record(content):
    core = {"content": content, "origin_server_ts": 1, "sender": "@a:hs.example", "type": "m.a"}
    values = dict.fromkeys(EventRecord._fields)
    values |= {"type": "m.a", "sender": "@a:hs.example", "core": msgspec.json.encode(core)}
    return EventRecord(**values)


def passes(wanted, content):
    return record_predicate(EventMatcher(parse_room_event_filter(wanted)))(record(content))


@pytest.mark.parametrize(
    ("content", "has_url"),
    [
        ({"url": "mxc://a/b"}, True),
        ({"url": None}, True),
        ({}, False),
        ({"file": {"url": "mxc://a/b"}}, False),
        ({"body": '"url":'}, False),
    ],
)
def test_a_url_counts_only_as_a_member_of_the_content(content, has_url):
    assert passes({"contains_url": True}, content) is has_url
    assert passes({"contains_url": False}, content) is not has_url


@pytest.mark.parametrize(
    "relates_to", [None, 1, [], "m.thread", {}, {"rel_type": 1}, {"rel_type": None}]
)
def test_a_malformed_relation_is_none(relates_to):
    content = {"m.relates_to": relates_to}
    assert not passes({"org.matrix.msc3874.rel_types": ["m.thread"]}, content)
    assert passes({"org.matrix.msc3874.not_rel_types": ["m.thread"]}, content)


def test_relations_are_told_by_their_type():
    content = {"m.relates_to": {"rel_type": "m.thread", "event_id": "$a"}}
    assert passes({"org.matrix.msc3874.rel_types": ["m.thread"]}, content)
    assert not passes({"org.matrix.msc3874.not_rel_types": ["m.thread"]}, content)
    assert not passes({"org.matrix.msc3874.rel_types": ["m.replace"]}, content)


def test_types_and_senders_are_asked_without_the_content():
    assert passes({"types": ["m.*"]}, {})
    assert not passes({"senders": ["@b:hs.example"]}, {})
    assert passes({}, {})
