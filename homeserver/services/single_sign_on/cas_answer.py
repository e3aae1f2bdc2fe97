"""Reading what a CAS says of a ticket: a little XML, which nobody shall blow up."""

from typing import Final

# Document types, where the danger is, are refused.
from xml.parsers import expat

import msgspec

_NAMESPACE: Final = "http://www.yale.edu/tp/cas"
_ROOT: Final = ("serviceResponse",)
_SUCCESS: Final = (*_ROOT, "authenticationSuccess")
_FAILURE: Final = (*_ROOT, "authenticationFailure")
_USER: Final = (*_SUCCESS, "user")
_ATTRIBUTES: Final = (*_SUCCESS, "attributes")
_MAX_DEPTH: Final = 20


class CasVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a CAS says; `user` None: it has not logged anybody in."""

    user: str | None
    # The code of a failure.
    code: str = ""
    # By name; several values of one name are a list.
    attributes: dict[str, str | list[str]] = {}


class InvalidCasAnswer(Exception):
    """The answer is none that a CAS gives."""


def parse_cas_answer(raw: bytes) -> CasVerdict:
    """Read an answer to serviceValidate. Raises InvalidCasAnswer."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse_document_type
    parser.StartElementHandler = reader.open
    parser.EndElementHandler = reader.close
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(raw, True)  # noqa: FBT003 - the signature is expat's
    except expat.ExpatError as error:
        raise InvalidCasAnswer(f"no XML: {error}") from error
    return reader.verdict()


class _Reader:
    """Collects what is of interest, by the path of elements to it."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._text: list[str] = []
        self._users: list[str] = []
        self._attributes: dict[str, str | list[str]] = {}
        self._outcomes: list[str] = []
        self._code = ""

    def open(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if len(self._path) >= _MAX_DEPTH:
            raise InvalidCasAnswer("nested too deeply")
        # What is foreign keeps its whole name, which is that of nothing we look for.
        self._path.append(local if namespace == _NAMESPACE else name)
        self._text.clear()
        path = tuple(self._path)
        if path == _FAILURE:
            self._code = attributes.get("code", "")
        if path in (_SUCCESS, _FAILURE):
            self._outcomes.append(local)

    def close(self, _name: str) -> None:
        path, text = tuple(self._path), "".join(self._text).strip()
        if path == _USER:
            self._users.append(text)
        elif path[:-1] == _ATTRIBUTES:
            self._add(path[-1], text)
        self._path.pop()
        self._text.clear()

    def text(self, text: str) -> None:
        self._text.append(text)

    def verdict(self) -> CasVerdict:
        if len(self._outcomes) != 1:
            raise InvalidCasAnswer("neither success nor failure")
        if self._outcomes[0] == _FAILURE[-1]:
            return CasVerdict(user=None, code=self._code)
        if len(self._users) != 1:
            raise InvalidCasAnswer("not one user")
        return CasVerdict(user=self._users[0], attributes=self._attributes)

    def _add(self, name: str, text: str) -> None:
        present = self._attributes.get(name)
        if present is None:
            self._attributes[name] = text
        elif isinstance(present, list):
            present.append(text)
        else:
            self._attributes[name] = [present, text]


def _refuse_document_type(*_: object) -> None:
    raise InvalidCasAnswer("a document type, which no CAS sends")
