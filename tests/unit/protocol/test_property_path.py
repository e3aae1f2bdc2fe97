import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.property_path import ABSENT, property_at, split_property_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("type", ("type",)),
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to.rel_type", ("content", "m.relates_to", "rel_type")),
        (r"content.m\\foo", ("content", r"m\foo")),
        (r"content.\x", ("content", r"\x")),
        (r"content.a\\.b", ("content", "a\\", "b")),
        (r"content.a\\\.b", ("content", r"a\.b")),
        ("a\\", ("a\\",)),
        ("", ("",)),
        ("..", ("", "", "")),
        ("a\nb.c", ("a\nb", "c")),
    ],
)
def test_a_path_is_split_at_its_unescaped_dots(path, names):
    assert split_property_path(path) == names


@given(st.lists(st.text(st.sampled_from("ab.\\é\n")), min_size=1, max_size=5))
def test_escaped_names_come_back_as_they_were(names):
    path = ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)
    assert split_property_path(path) == tuple(names)


def test_a_property_is_found_down_its_path():
    event = {"content": {"m.mentions": {"room": None}}}
    assert property_at(event, ("content", "m.mentions")) == {"room": None}
    assert property_at(event, ("content", "m.mentions", "room")) is None


@pytest.mark.parametrize("names", [("b",), ("a", "x"), ("a", "b", "c"), ("l", "0"), ("a", "b", "")])
def test_a_path_that_leads_nowhere_is_absent(names):
    assert property_at({"a": {"b": 1}, "l": ["x"]}, names) is ABSENT


def test_a_very_long_path_is_no_trouble():
    assert property_at({}, split_property_path("." * 100_000)) is ABSENT
