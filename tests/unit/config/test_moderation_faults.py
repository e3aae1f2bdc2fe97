"""Faults in the sections of TURN, server notices and the policy server."""

import pytest

from homeserver.config.check import faults_of
from homeserver.config.model import Config
from homeserver.config.sections.discovery import DiscoverySection
from homeserver.config.sections.server_notices import ServerNoticesSection
from homeserver.config.sections.turn import TurnSection
from homeserver.config.values import Secret

URIS = ("turn:turn.example.org",)
SECRET = Secret("north")


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"turn": TurnSection(uris=URIS)}, ["turn.uris"]),
        ({"turn": TurnSection(uris=URIS, username="a")}, ["turn.uris", "turn"]),
        (
            {"turn": TurnSection(uris=("https://a.example",), shared_secret=SECRET)},
            ["turn.uris[0]"],
        ),
        (
            {"turn": TurnSection(uris=URIS, shared_secret=SECRET, username="a", password=SECRET)},
            ["turn.shared_secret"],
        ),
        ({"turn": TurnSection(uris=URIS, shared_secret=SECRET)}, []),
        ({"turn": TurnSection(uris=URIS, username="a", password=SECRET)}, []),
        (
            {"server_notices": ServerNoticesSection(localpart="Über")},
            ["server_notices.localpart"],
        ),
        (
            {"server_notices": ServerNoticesSection(avatar_url="https://a.example/b.png")},
            ["server_notices.avatar_url"],
        ),
        ({"server_notices": ServerNoticesSection(localpart=None)}, []),
        (
            {"discovery": DiscoverySection(policy_server_key="no key")},
            ["discovery.policy_server_key"],
        ),
        (
            {"discovery": DiscoverySection(policy_server_key="YWJj")},
            ["discovery.policy_server_key"],
        ),
    ],
)
def test_settings_that_contradict_each_other_are_told(sections, expected) -> None:
    assert [fault.place for fault in faults_of(Config(**sections))] == expected
