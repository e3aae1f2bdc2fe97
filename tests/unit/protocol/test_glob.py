"""Glob-style patterns, alone and many at once."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from homeserver.protocol.glob import compile_glob, compile_globs

quick = settings(deadline=None, database=None)
# Few characters, so that patterns match often; "é" is no word character in the sense of the text.
texts = st.text(alphabet="ab_- é", max_size=10)
patterns = st.text(alphabet="ab_- é*?", max_size=8)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("evil.com", "evil.com"),
        ("evil.com", "EVIL.com"),
        ("EVIL.com", "evil.com"),
        ("*", ""),
        ("*", "anything\nat all"),
        ("**", "anything"),
        ("*.com", ".com"),
        ("lunc?*", "Lunch plans"),
        ("lunc?*", "LUNCH"),
        ("a*a", "aa"),
        ("a*b*c", "a-b-b-c"),
        ("*b?d*", "abbcbxd"),
        ("?", "\n"),
        ("??", "ab"),
        ("*??", "abc"),
        ("?*?", "ab"),
        ("a.c", "a.c"),
        ("[ab]", "[ab]"),
        ("", ""),
    ],
)
def test_a_pattern_matches_the_whole_value(pattern: str, value: str) -> None:
    assert compile_glob(pattern).matches(value)
    assert compile_globs([pattern]).matches(value)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("evil.com", "evil.com.au"),
        ("evil.com", "notevil.com"),
        ("evil.com", "evilxcom"),
        ("lunc?*", " lunch"),
        ("lunc?*", "lunc"),
        ("a*a", "a"),
        ("a*b*c", "a-c-b"),
        ("ab*ba", "aba"),
        ("?", ""),
        ("?", "ab"),
        ("*??", "a"),
        ("*x?*", "abx"),
        ("*a??*", "xa-"),
        ("[ab]", "a"),
        ("", "a"),
        ("*.com", "com"),
    ],
)
def test_a_pattern_does_not_match_other_values(pattern: str, value: str) -> None:
    assert not compile_glob(pattern).matches(value)
    assert not compile_globs([pattern]).matches(value)


@quick
@given(pattern=patterns, value=texts)
def test_matching_is_that_of_the_equivalent_expression(pattern: str, value: str) -> None:
    expected = re.fullmatch(_expression(pattern), value, re.DOTALL) is not None
    assert compile_glob(pattern).matches(value) is expected


@quick
@given(several=st.lists(patterns, max_size=6), value=texts)
def test_a_set_matches_what_any_of_its_patterns_matches(several: list[str], value: str) -> None:
    expected = any(compile_glob(pattern).matches(value) for pattern in several)
    assert compile_globs(several).matches(value) is expected


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("ex*ple", "An example event."),
        ("ex*ple", "exple"),
        ("ex*ple", "An exciting triple-whammy"),
        ("alice", "hello Alice!"),
        ("alice", "malice alice"),
        ("alice", "(alice)"),
        ("alice", "aliceé alice"),
        ("alice", "éalice"),
        ("al?ce", "alicex al-ce"),
        ("*ice", "malice"),
        ("ali*", "alice"),
        (":)", "well:) then"),
        ("a*c", "abcd abc"),
        ("*", "whatever"),
    ],
)
def test_a_whole_word_pattern_matches_inside_of_the_value(pattern: str, value: str) -> None:
    assert compile_glob(pattern, whole_word=True).matches(value)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("alice", "malice"),
        ("alice", "alices"),
        ("alice", "_alice"),
        ("alice", "alice2"),
        ("alice", ""),
        ("ex*ple", "An exampled event"),
        ("ex*ple", "rexample"),
        ("ex*am*ple", "example"[:-1]),
        ("a*b*c", "a c b"),
        ("al?ce", "alce"),
    ],
)
def test_a_whole_word_pattern_matches_no_part_of_a_word(pattern: str, value: str) -> None:
    assert not compile_glob(pattern, whole_word=True).matches(value)


@quick
@given(pattern=patterns, value=texts)
@example(pattern="a*b", value="abb a-b")
def test_whole_word_matching_is_that_of_the_definition(pattern: str, value: str) -> None:
    expression = re.compile(_expression(pattern), re.DOTALL)
    boundaries = [place for place in range(len(value) + 1) if _is_boundary(value, place)]
    expected = any(
        expression.fullmatch(value, start, end) is not None
        for start in boundaries
        for end in boundaries
        if start <= end
    )
    assert compile_glob(pattern, whole_word=True).matches(value) is expected


def test_a_pattern_made_to_backtrack_is_answered_at_once() -> None:
    glob = compile_glob("*a" * 5_000 + "b")
    assert not glob.matches("a" * 60_000)
    assert glob.matches("a" * 60_000 + "b")


@pytest.mark.parametrize("whole_word", [False, True])
def test_a_pattern_that_nearly_fits_everywhere_is_answered_at_once(whole_word: bool) -> None:
    glob = compile_glob("*" + "a?" * 5_000 + "b*", whole_word=whole_word)
    assert not glob.matches("a" * 60_000)
    assert glob.matches("a" * 60_000 + "b")
    words = compile_glob("a?" * 5_000, whole_word=True)
    assert not words.matches("a" * 60_000)
    assert words.matches("a" * 10_000)


def test_many_patterns_are_sorted_by_kind() -> None:
    globs = compile_globs(
        [f"evil{number}.com" for number in range(10_000)]
        + [f"*.evil{number}.org" for number in range(10_000)]
        + ["e?il.net"]
    )
    assert len(globs.others) == 1
    assert globs.matches("evil9999.com")
    assert globs.matches("x.evil9999.org")
    assert globs.matches("evil.net")
    assert not globs.matches("evil9999.org")


def _expression(pattern: str) -> str:
    translated = {"*": ".*", "?": "."}
    return "".join(translated.get(character, re.escape(character)) for character in pattern)


def _is_boundary(value: str, place: int) -> bool:
    around = value[max(place - 1, 0) : place + 1]
    at_edge = place in (0, len(value))
    return at_edge or re.fullmatch(r"[A-Za-z0-9_]*", around) is None
