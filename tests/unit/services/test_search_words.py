"""Words of texts and of search terms."""

import pytest

from homeserver.services.search_words import (
    MAX_HIGHLIGHTS,
    MAX_TERM_WORDS,
    MAX_WORD_LENGTH,
    MAX_WORDS,
    highlights,
    parse_term,
    words_of_text,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, hello World!", {"hello": [1, 2], "world": [3]}),
        ("example.com/snake_case", {"example": [1], "com": [2], "snake": [3], "case": [4]}),
        ("don't", {"don": [1], "t": [2]}),
        ("fooBar x", {"foobar": [1], "foo": [1], "bar": [1], "x": [2]}),
        ("HTTPServer", {"httpserver": [1], "http": [1], "server": [1]}),
        ("Straße", {"strasse": [1]}),
        ("東京都", {"東京": [1], "京都": [2], "都": [3]}),
        ("東", {"東": [1]}),
        ("2024年 x", {"2024": [1], "年": [2], "x": [3]}),
        ("👍🏽👩‍💻", {"👍": [1], "👩💻": [2]}),
        ("मोहिनी", {"मोहिनी": [1]}),
        ("ガ", {"ガ": [1]}),
        (" .,;!? ", {}),
        ("", {}),
    ],
)
def test_the_words_of_a_text_stand_at_places(text, expected):
    assert dict(words_of_text([text])) == expected


def test_between_two_texts_is_a_gap():
    assert dict(words_of_text(["a b", "c"])) == {"a": [1], "b": [2], "c": [4]}


def test_words_are_limited_in_number_and_length():
    words = words_of_text(["x" * 1_000, "y " * 10_000])
    assert words["x" * MAX_WORD_LENGTH] == [1]
    assert words["y"][-1] == MAX_WORDS


def phrases(term):
    return [
        [(word.text, word.position, word.is_beginning) for word in phrase]
        for phrase in parse_term(term).phrases
    ]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("green men", [[("green", 1, False)], [("men", 1, True)]]),
        ("at", [[("at", 1, False)]]),
        ('"green men"', [[("green", 1, False), ("men", 2, False)]]),
        ('"green', [[("green", 1, True)]]),
        ("foo.bar", [[("foo", 1, False), ("bar", 2, True)]]),
        ('צה"ל', [[("צה", 1, False), ("ל", 2, False)]]),
        ("東京都 x", [[("東京", 1, False), ("京都", 2, False)], [("x", 1, False)]]),
        ("東 x", [[("東", 1, True)], [("x", 1, False)]]),
        ("東京2024", [[("東京", 1, False), ("2024", 3, True)]]),
        ("?!", []),
        ("", []),
    ],
)
def test_a_term_is_read_into_phrases(term, expected):
    assert phrases(term) == expected


def test_a_term_has_a_limited_number_of_words():
    assert len(phrases("a " * 100)) == MAX_TERM_WORDS
    assert sum(map(len, phrases("東京" * 400))) == MAX_TERM_WORDS


def test_highlights_are_the_words_as_they_stand_in_the_texts():
    term = parse_term('cafe "東京タワー" test')
    found = highlights(term, ["Café TESTS tested 東京タワー attest"])
    assert found == ["cafe", "東京タワー", "test", "café", "tests", "tested"]


def test_highlights_are_limited():
    texts = [" ".join(f"word{number}" for number in range(1_000))]
    assert len(highlights(parse_term("word"), texts)) == MAX_HIGHLIGHTS
