"""Faults in the section of notifications."""

import pytest

from homeserver.config.check import faults_of
from homeserver.config.model import Config
from homeserver.config.sections.push import PushSection


@pytest.mark.parametrize("contact", [None, "mailto:admin@example.org", "https://example.org/who"])
def test_push_services_may_ask_at_an_address(contact: str | None) -> None:
    assert faults_of(Config(push=PushSection(web_push_contact=contact))) == []


@pytest.mark.parametrize("contact", ["", "admin@example.org", "http://example.org"])
def test_anything_else_is_a_fault(contact: str) -> None:
    faults = faults_of(Config(push=PushSection(web_push_contact=contact)))
    assert [fault.place for fault in faults] == ["push.web_push_contact"]
