"""The words by which messages are found, whatever their script.

Case, accents, vowel points and width do not matter. Words are runs of letters and digits: what
is joined by other signs (`example.com`, `snake_case`, `l'eau`) is several words in a row, and
asking for it asks for them in a row. Parts of a camelCase word are found too. Scripts that put
no space between words, and Korean, whose words take endings, are cut into overlapping pairs of
characters, so that any stretch of them is found. An emoji is a word.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import regex  # type: ignore[import-untyped]  # it has no stubs

from homeserver.storage.search import AskedWord, Phrase, Words

# A message may be 64 KiB of text; nobody looks for its five thousandth word.
MAX_WORDS: Final = 4_000
MAX_WORD_LENGTH: Final = 64
# Of a search term; each word is a look into the index, for each part of a room.
MAX_TERM_WORDS: Final = 32
MAX_HIGHLIGHTS: Final = 50
# The last word of a term may be the beginning of one, unless nearly everything begins like it.
_MIN_BEGINNING: Final = 3
_MAX_TERM_LENGTH: Final = 1_000

_PAIRED: Final = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc"
)
_PICTURE: Final = r"\p{Extended_Pictographic}[\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
_TOKEN: Final = regex.compile(
    rf"""
    (?P<pairs>[{_PAIRED}][{_PAIRED}\p{{M}}\p{{Cf}}]*)
    | (?P<emoji>\p{{RI}}\p{{RI}} | [0-9\#*]\ufe0f?\u20e3 | {_PICTURE}(?:\u200d{_PICTURE})*)
    | (?P<word>[[\p{{L}}\p{{N}}]--[{_PAIRED}]][[\p{{L}}\p{{N}}\p{{M}}\p{{Cf}}]--[{_PAIRED}]]*)
    """,
    regex.V1 | regex.VERBOSE,
)
_CHARACTER: Final = regex.compile(r"\X")
_HUMPS: Final = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})", regex.V1)
# Accents of Latin, Greek and Cyrillic, points of Hebrew and Arabic, the Arabic stretcher, colors
# of skin, and what is not seen. Vowel signs of Indian scripts, and Japanese voicing, are letters.
_UNIMPORTANT: Final = regex.compile(
    r"[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    r"\u06d6-\u06ed\ufe0f\U0001f3fb-\U0001f3ff\p{Cf}]+"
)
# Letters that people type for each other and that Unicode does not decompose.
_ALIKE: Final = str.maketrans(
    {"ı": "i", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ى": "ي", "ی": "ي", "ک": "ك"}
)
# In quotes, between spaces; otherwise what stands between spaces.
_CHUNK: Final = regex.compile(r'(?<!\S)["“„]([^"“”„]+)["”“](?!\S)|(\S+)')


class _Token(NamedTuple):
    """A word as it stands in a text, and as it is kept.

    `is_extra`: it makes a part of a word to be found too; a term does not ask for it.
    """

    surface: str
    folded: str
    position: int
    is_paired: bool = False
    is_extra: bool = False


class SearchTerm(NamedTuple):
    """What was asked for: phrases that must all be found, and its words as they were written."""

    phrases: Sequence[Phrase]
    written: Sequence[str]


def words_of_text(texts: Iterable[str]) -> Words:
    """Return the words of texts with the places where they stand."""
    words: dict[str, list[int]] = defaultdict(list)
    first = 1
    for text in texts:
        for token in _tokens(text, first):
            if token.position > MAX_WORDS:
                return words
            words[token.folded].append(token.position)
            first = token.position + 1
        # No phrase reaches from one text into the next.
        first += 1
    return words


def parse_term(term: str) -> SearchTerm:
    """Read a search term: all its words, those in "quotes" in a row.

    The last word may be the beginning of one, unless it is quoted. Without any word, nothing is
    found.
    """
    phrases: list[list[AskedWord]] = []
    written: list[str] = []
    budget = MAX_TERM_WORDS
    chunks = list(_CHUNK.finditer(term[:_MAX_TERM_LENGTH]))
    for chunk in chunks:
        is_last = chunk is chunks[-1] and chunk[2] is not None
        tokens = [t for t in _tokens(chunk[1] or chunk[2], 1) if not t.is_extra][:budget]
        if tokens:
            phrases.append([_asked(t, may_go_on=is_last and t is tokens[-1]) for t in tokens])
            # Of paired characters the whole run: that is what stands in the texts.
            written += [word[0].casefold() for word in _TOKEN.finditer(_wide(chunk[0]))]
        budget -= len(tokens)
    return SearchTerm(phrases, written)


def highlights(term: SearchTerm, texts: Iterable[str]) -> list[str]:
    """Return the words that were asked for, also as they stand in texts that were found."""
    asked = [word for phrase in term.phrases for word in phrase]
    whole = {word.text for word in asked}
    beginnings = tuple(word.text for word in asked if word.is_beginning)
    shown = dict.fromkeys(term.written)
    for text in texts:
        for token in _tokens(text, 1):
            is_asked = token.folded in whole or token.folded.startswith(beginnings)
            if is_asked and not token.is_paired:
                shown[token.surface.casefold()] = None
        if len(shown) > MAX_HIGHLIGHTS:
            break
    return list(shown)[:MAX_HIGHLIGHTS]


def _asked(token: _Token, *, may_go_on: bool) -> AskedWord:
    if token.is_paired:
        # A single character is the first of a pair, or the last of a run.
        is_beginning = len(_CHARACTER.findall(token.surface)) == 1
    else:
        is_beginning = may_go_on and len(token.folded) >= _MIN_BEGINNING
    return AskedWord(token.folded, token.position, is_beginning)


def _tokens(text: str, first: int) -> Iterator[_Token]:
    """Yield the words of a text; the places count from `first`."""
    position = first
    for match in _TOKEN.finditer(_wide(text)):
        if match["pairs"] is not None:
            tokens = _pairs(match[0], position)
        else:
            tokens = _word(match[0], position, is_cased=match["word"] is not None)
        for token in tokens:
            if token.folded:
                yield token
                position = token.position + 1


def _pairs(run: str, first: int) -> Iterator[_Token]:
    characters = _CHARACTER.findall(run)
    for offset, character in enumerate(characters):
        pair = character + "".join(characters[offset + 1 : offset + 2])
        is_tail = offset > 0 and offset == len(characters) - 1
        yield _Token(pair, _folded(pair), first + offset, is_paired=True, is_extra=is_tail)


def _word(word: str, position: int, *, is_cased: bool) -> Iterator[_Token]:
    yield _Token(word, _folded(word), position)
    if is_cased and not (word.islower() or word.istitle() or word.isupper()):
        humps = _HUMPS.split(word)
        if len(humps) > 1:
            for hump in humps:
                yield _Token(hump, _folded(hump), position, is_extra=True)


def _wide(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _folded(word: str) -> str:
    word = word[:MAX_WORD_LENGTH]
    if word.isascii():
        return word.lower()
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    # Of these accents one makes a letter of its own.
    bare = _UNIMPORTANT.sub("", decomposed.replace("и\u0306", "й")).translate(_ALIKE)
    return unicodedata.normalize("NFKC", bare)
