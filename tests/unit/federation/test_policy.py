"""Which servers are talked with."""

from typing import Any

import pytest

from federation.policy import FederationPolicy
from homeserver.config.sections.federation import FederationSection
from homeserver.protocol.identifiers import ServerName


def talks(server: str, **settings: Any) -> bool:
    policy = FederationPolicy(FederationSection(**settings), ServerName("me.example"))
    return policy.may_talk_to(ServerName(server))


@pytest.mark.parametrize(
    ("server", "settings", "expected"),
    [
        ("a.example", {}, True),
        ("me.example", {}, False),
        ("a.example", {"enabled": False}, False),
        ("a.example", {"allow": ()}, False),
        ("a.example", {"allow": ("a.*",)}, True),
        ("A.Example:8448", {"allow": ("a.example",)}, True),
        ("a.example:8448", {"allow": ("a.example:8448",)}, True),
        ("b.example", {"allow": ("a.*",)}, False),
        ("a.example", {"block": ("*.example",)}, False),
        ("a.example:1", {"block": ("a.example",)}, False),
        ("a.example:1", {"block": ("a.example:2",)}, True),
        ("a.example", {"block": ("b.*",)}, True),
        ("a.example", {"allow": ("a.example",), "block": ("*",)}, False),
    ],
)
def test_lists_decide(server: str, settings: dict[str, Any], *, expected: bool) -> None:
    assert talks(server, **settings) is expected
