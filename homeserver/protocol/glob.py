"""Glob-style patterns: `*` is zero or more characters, `?` exactly one.

Matching ignores case, as every use in the specification does. Nothing here backtracks: between
two stars the leftmost fit is taken, which is always enough. So a hostile pattern costs at most
(length of the pattern) × (length of the value) steps of the kind that compare 64 characters at
a time; whoever takes patterns from users limits their length.
Spec: appendices/#glob-style-matching
"""

import string
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

# client-server-api/#conditions-1: what is not a word boundary, for `content.body`
_WORD_CHARACTERS: Final = frozenset(string.ascii_letters + string.digits + "_")


class _Segment(msgspec.Struct, frozen=True):
    """A piece of a pattern without stars.

    `anchor` is its longest part without `?`. If there is a `?`, bit n of `places[character]`
    says that the character may be the nth one, and of `any_places` that every character may.
    """

    text: str
    anchor: str
    places: dict[str, int]
    any_places: int

    @property
    def size(self) -> int:
        """How many characters the segment takes."""
        return len(self.text)

    @property
    def is_literal(self) -> bool:
        """Whether the segment has no `?`."""
        return self.text == self.anchor

    def fits(self, value: str, start: int) -> bool:
        """Whether the segment fits at `start`, where at least `size` characters follow."""
        if self.is_literal:
            return value.startswith(self.text, start)
        taken = value[start : start + self.size]
        return all(wanted in ("?", found) for wanted, found in zip(self.text, taken, strict=True))

    def occurrences(self, value: str, start: int, end: int) -> Iterator[int]:
        """Yield the places between `start` and `end` where the segment fits, leftmost first."""
        if self.is_literal:
            place = value.find(self.text, start, end)
            while place >= 0:
                yield place
                place = value.find(self.text, place + 1, end)
            return
        # Settles nearly all values without the loop.
        if value.find(self.anchor, start, end) < 0:
            return
        # Bit n: the segment's first n + 1 characters end here. (The Shift-And algorithm.)
        ending = 0
        for place in range(start, end):
            ending = (ending << 1 | 1) & self.places.get(value[place], self.any_places)
            if ending >> (self.size - 1):
                yield place - self.size + 1

    def find(self, value: str, start: int, end: int) -> int:
        """Return the leftmost place between `start` and `end` where the segment fits, or -1."""
        return next(self.occurrences(value, start, end), -1)


class Glob(msgspec.Struct, frozen=True):
    """One compiled pattern. With a star, `head` and `tail` are what is before and after all stars.

    Without a star `head` is the whole pattern and `tail` is None.
    """

    head: _Segment
    middle: tuple[_Segment, ...]
    tail: _Segment | None
    whole_word: bool

    def matches(self, value: str) -> bool:
        """Whether the pattern matches all of `value`, or with `whole_word` some words in it."""
        folded = value.lower()
        if self.whole_word:
            return self._matches_words(folded)
        if self.tail is None:
            return len(folded) == self.head.size and self.head.fits(folded, 0)
        end = len(folded) - self.tail.size
        if end < self.head.size or not self.head.fits(folded, 0):
            return False
        return self.tail.fits(folded, end) and self._pass_middle(folded, self.head.size, end) >= 0

    def _pass_middle(self, value: str, start: int, end: int) -> int:
        """Return where the middle segments end when each takes its leftmost fit, or -1."""
        for segment in self.middle:
            place = segment.find(value, start, end)
            if place < 0:
                return -1
            start = place + segment.size
        return start

    def _matches_words(self, value: str) -> bool:
        length = len(value)
        for start in self.head.occurrences(value, 0, length):
            end = start + self.head.size
            if _is_boundary(value, start):
                if self.tail is not None:
                    return self._ends_at_boundary(value, self._pass_middle(value, end, length))
                if _is_boundary(value, end):
                    return True
        return False

    def _ends_at_boundary(self, value: str, start: int) -> bool:
        """Whether the tail fits somewhere after `start` (-1: nowhere) and ends a word there."""
        assert self.tail is not None
        if start < 0:
            return False
        places = self.tail.occurrences(value, start, len(value))
        return any(_is_boundary(value, place + self.tail.size) for place in places)


class GlobSet(msgspec.Struct, frozen=True):
    """Many patterns asked at once; the common kinds cost the same however many they are."""

    literals: frozenset[str]
    tails: frozenset[str]  # of patterns `*literal`
    tail_sizes: tuple[int, ...]
    others: tuple[Glob, ...]

    def matches(self, value: str) -> bool:
        """Whether any of the patterns matches all of `value`."""
        folded = value.lower()
        if folded in self.literals:
            return True
        length = len(folded)
        if any(
            size <= length and folded[length - size :] in self.tails for size in self.tail_sizes
        ):
            return True
        return any(glob.matches(folded) for glob in self.others)


def compile_glob(pattern: str, *, whole_word: bool = False) -> Glob:
    """Compile a pattern. Any string is one.

    With `whole_word` it matches a value that contains it, from a word boundary to a word
    boundary: the start or end of the value, or a character other than ASCII letters, digits
    and `_`. Spec: client-server-api/#conditions-1 (`event_match` of `content.body`)
    """
    head, *rest = (_compile_segment(piece) for piece in pattern.lower().split("*"))
    tail = rest.pop() if rest else None
    middle = tuple(segment for segment in rest if segment.size)
    return Glob(head=head, middle=middle, tail=tail, whole_word=whole_word)


def compile_globs(patterns: Iterable[str]) -> GlobSet:
    """Compile patterns of which any may match."""
    literals: set[str] = set()
    tails: set[str] = set()
    others: list[Glob] = []
    for pattern in patterns:
        folded = pattern.lower()
        literal = folded.lstrip("*")
        if "*" in literal or "?" in literal:
            others.append(compile_glob(folded))
        elif literal == folded:
            literals.add(literal)
        else:
            tails.add(literal)
    return GlobSet(
        literals=frozenset(literals),
        tails=frozenset(tails),
        tail_sizes=tuple(sorted({len(tail) for tail in tails})),
        others=tuple(others),
    )


def _compile_segment(text: str) -> _Segment:
    if "?" not in text:
        return _Segment(text, anchor=text, places={}, any_places=0)
    any_places = sum(1 << place for place, character in enumerate(text) if character == "?")
    places: dict[str, int] = {}
    for place, character in enumerate(text):
        places[character] = places.get(character, any_places) | 1 << place
    anchor = max(text.split("?"), key=len)
    return _Segment(text, anchor=anchor, places=places, any_places=any_places)


def _is_boundary(value: str, place: int) -> bool:
    """Whether a word can start or end between the characters before and at `place`."""
    return (
        place in (0, len(value))
        or value[place - 1] not in _WORD_CHARACTERS
        or value[place] not in _WORD_CHARACTERS
    )
