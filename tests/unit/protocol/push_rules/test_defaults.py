import re
from pathlib import Path

import msgspec
import pytest

from homeserver.protocol.identifiers import UserID
from homeserver.protocol.push_rules.defaults import MASTER_RULE_ID, default_rules
from homeserver.protocol.push_rules.model import RuleKind

ALICE = UserID("@alice:example.org")
# The definitions in the text of client-server-api/#predefined-rules (v1.19), in its order, with
# Alice for "[the user's Matrix ID]".
SPECIFIED = msgspec.json.decode(
    (Path(__file__).parent / "vectors" / "default_rules_v1.19.json").read_bytes()
)


def test_the_defaults_are_those_of_the_specification_in_its_order():
    rules = default_rules(with_polls=False).to_json(ALICE)
    assert rules["override"] == SPECIFIED["override"]
    assert rules["underride"] == SPECIFIED["underride"]
    assert rules["content"] == rules["room"] == rules["sender"] == []


def test_every_default_rule_is_marked_by_its_dot_and_only_master_is_disabled():
    rules = default_rules(with_polls=True)
    for kind in RuleKind:
        for rule in rules.of_kind(kind):
            assert rule.rule_id.startswith(".")
            assert rule.is_default
            assert rule.is_enabled == (rule.rule_id != MASTER_RULE_ID)


def test_rule_ids_are_unique_over_all_kinds():
    rules = default_rules(with_polls=True)
    ids = [rule.rule_id for kind in RuleKind for rule in rules.of_kind(kind)]
    assert len(ids) == len(set(ids))


def test_poll_rules_come_after_all_others_and_the_narrower_ones_first():
    rules = default_rules(with_polls=True)
    names = [re.sub(r".*\.", "", rule.rule_id) for rule in rules.underride[-5:]]
    assert names == [
        "encrypted",
        "poll_start_one_to_one",
        "poll_start",
        "poll_end_one_to_one",
        "poll_end",
    ]
    assert rules.override[-1].rule_id == ".org.matrix.msc3930.rule.poll_response"


@pytest.mark.parametrize("kind", list(RuleKind))
def test_poll_rules_only_add_to_the_others(kind):
    plain, polls = default_rules(with_polls=False), default_rules(with_polls=True)
    assert polls.of_kind(kind)[: len(plain.of_kind(kind))] == plain.of_kind(kind)
