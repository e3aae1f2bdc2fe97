"""The words by which users are found, whatever the script of their names.

Case, accents and width do not matter. Where a script puts no space between words, a search may
begin at any character.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from homeserver.protocol.identifiers import UserID, localpart_of

# A display name may fill an event; nobody searches for its thousandth word.
MAX_WORDS: Final = 64
MAX_WORD_LENGTH: Final = 64
# Of a search term; the search keeps a bit for each.
MAX_TERM_WORDS: Final = 16
_MAX_TEXT_LENGTH: Final = 1_000

# Thai, Lao, Burmese, Khmer, kana, Han: scripts that are written without spaces.
_SPACELESS: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_SPACELESS_RUN: Final = re.compile(f"[{_SPACELESS}]+")
_RUNS: Final = re.compile(f"[{_SPACELESS}]+|[^{_SPACELESS}]+")


def words_of_user_id(user_id: UserID) -> frozenset[str]:
    """Return the words of a user ID: those of the localpart, it as a whole, and the whole ID."""
    localpart = localpart_of(user_id)
    return frozenset((_folded(user_id), _folded(localpart)[:MAX_WORD_LENGTH])) | words_of_name(
        localpart
    )


def words_of_name(name: str) -> frozenset[str]:
    """Return the words under which a display name is kept."""
    words: dict[str, None] = {}
    for word, is_spaceless in _words(_folded(name[:_MAX_TEXT_LENGTH])):
        starts = range(len(word)) if is_spaceless else range(1)
        words.update((word[start : start + MAX_WORD_LENGTH], None) for start in starts)
        if len(words) >= MAX_WORDS:
            break
    return frozenset(list(words)[:MAX_WORDS])


def words_to_search(term: str) -> list[str]:
    """Return the words of a search term: users are found whose words begin like each of them.

    What looks like a user ID is one word, and so is a text without any letter.
    """
    term = term.strip()[:_MAX_TEXT_LENGTH]
    if term.startswith("@") and not any(map(str.isspace, term)):
        return [_folded(term)]
    folded = _folded(term)
    if ":" in folded and not any(map(str.isspace, folded)):
        return [f"@{folded}"]
    words = [word[:MAX_WORD_LENGTH] for word, _ in _words(folded)]
    words = words or [folded.strip()[:MAX_WORD_LENGTH]]
    return [word for word in dict.fromkeys(words) if word][:MAX_TERM_WORDS]


def _words(folded: str) -> Iterator[tuple[str, bool]]:
    """Yield the words of a folded text, and whether their script puts no space between words."""
    separated = "".join(char if _is_part_of_word(char) else " " for char in folded)
    for word in separated.split():
        for run in _RUNS.findall(word):
            yield run, _SPACELESS_RUN.fullmatch(run) is not None


def _is_part_of_word(char: str) -> bool:
    # Letters, marks, numbers, and symbols such as emoji, which people put into their names.
    return unicodedata.category(char)[0] in "LMN" or unicodedata.category(char) == "So"


def _folded(text: str) -> str:
    """Return a text without case, accents, width, and what PostgreSQL cannot store."""
    text = text.replace("\0", " ").encode("utf-8", "replace").decode()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
    return unicodedata.normalize("NFKC", bare.casefold())
