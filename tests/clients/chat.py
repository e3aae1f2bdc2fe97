"""Two chat programs as child processes, and what must be true of what they report."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.clients.chat_program import REDACTED
from tests.support.processes import ROOT

ALICE, BOB = "alice", "bob"


class ChatProgram:
    """One running chat program."""

    def __init__(self, url: str, name: str, peer: str, messages: int) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.clients.chat_program", url, name, peer, str(messages)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait_for_messages(self, count: int) -> None:
        """Return when so many of its messages have been acknowledged."""
        while self._next_fact()["acknowledged"] < count:
            pass

    def wait_for_end(self) -> dict[str, Any]:
        """Return the last thing that it says: everything it has seen."""
        fact = self._next_fact()
        while "seen" not in fact:
            fact = self._next_fact()
        assert self._process.wait() == 0
        return fact

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _next_fact(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.communicate()[1]
        fact: dict[str, Any] = json.loads(line)
        return fact


@contextmanager
def two_programs(
    alice_url: str, bob_url: str, messages: int
) -> Iterator[tuple[ChatProgram, ChatProgram]]:
    """Start two programs that chat with each other."""
    alice = ChatProgram(alice_url, ALICE, BOB, messages)
    bob = ChatProgram(bob_url, BOB, ALICE, messages)
    try:
        yield alice, bob
    finally:
        alice.close()
        bob.close()


def assert_nothing_is_lost(alice: dict[str, Any], bob: dict[str, Any], messages: int) -> None:
    """Every acknowledged message is there once, for both, in the order in which it was sent."""
    order = [event_id for event_id, _, _ in alice["seen"]]
    assert len(set(order)) == len(order) == 2 * messages
    redacted_id = alice["acknowledged"][REDACTED][0]
    for report in (alice, bob):
        assert [event_id for event_id, _, _ in report["seen"]] == order
        assert [event_id for event_id, _, _ in report["history"]] == order
        assert report["redactions"] == [redacted_id]
        assert [redacted_id, f"@{ALICE}:localhost", None] in report["history"]
        for name, sender in ((ALICE, alice), (BOB, bob)):
            sent = _without(sender["acknowledged"], redacted_id)
            assert _sent_by(name, _without(report["history"], redacted_id)) == sent
            # Who was away when it was redacted has never seen the message itself.
            assert _sent_by(name, _without(report["seen"], redacted_id)) == sent


def _sent_by(name: str, events: list[list[Any]]) -> list[list[Any]]:
    return [[event_id, body] for event_id, who, body in events if who == f"@{name}:localhost"]


def _without(events: list[list[Any]], event_id: str) -> list[list[Any]]:
    return [event for event in events if event[0] != event_id]
