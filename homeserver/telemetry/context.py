"""The facts that belong to everything logged or traced in one request or task."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_NOTHING: Final[Mapping[str, str]] = {}
# One variable for all facts: binding several costs one assignment.
_facts: Final[ContextVar[Mapping[str, str]]] = ContextVar("facts", default=_NOTHING)


def bind(**facts: str) -> None:
    """Add facts (request_id, operation, user_id, room_id, origin) for the rest of the task."""
    _facts.set({**_facts.get(), **facts})


def bind_only(facts: Mapping[str, str]) -> None:
    """Replace all facts of the running task."""
    _facts.set(facts)


@contextmanager
def bound(**facts: str) -> Iterator[None]:
    """Add facts while the block runs."""
    token = _facts.set({**_facts.get(), **facts})
    try:
        yield
    finally:
        _facts.reset(token)


def bound_facts() -> Mapping[str, str]:
    """Return the facts of the running task; nobody changes the mapping."""
    return _facts.get()
