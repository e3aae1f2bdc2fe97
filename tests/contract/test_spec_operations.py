"""Endpoints are those of the specification, or the difference is written down."""

from typing import Any

import msgspec
import pytest

from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, Endpoint, RateLimit, endpoint
from homeserver.web.router import Router
from tools.collect_endpoints import collect_endpoints
from tools.spec_status import (
    Deviation,
    NotYet,
    SpecOperation,
    Status,
    find_faults,
    load_status,
    without_names,
)

HEALTH = SpecOperation(
    api="client-server",
    operation_id="getVersions",
    area="versions",
    method="GET",
    path="/_matrix/client/versions",
    auth="none",
    is_rate_limited=True,
    is_deprecated=False,
)


@pytest.fixture(scope="module")
def endpoints() -> list[Endpoint]:
    return collect_endpoints()


def test_endpoints_and_specification_agree(endpoints: list[Endpoint]) -> None:
    assert find_faults(load_status(endpoints)) == []


def test_no_two_endpoints_claim_one_method_and_path(endpoints: list[Endpoint]) -> None:
    Router((each, None) for each in endpoints)


def test_operations_have_names_of_their_own(endpoints: list[Endpoint]) -> None:
    names = [each.operation for each in endpoints]
    assert sorted(names) == sorted(set(names))


def test_the_table_is_whole(endpoints: list[Endpoint]) -> None:
    operations = load_status(endpoints).operations
    counted = {api: sum(each.api == api for each in operations) for api in _COUNTS}
    assert counted == _COUNTS


# specification v1.19
_COUNTS = {
    "client-server": 166,
    "server-server": 36,
    "application-service": 9,
    "push-gateway": 1,
}


def declared(**options: Any) -> Endpoint:
    given = {
        "auth": Auth.NONE,
        "rate_limit": RateLimit.DEFAULT,
        "spec": "client-server-api/#get_matrixclientversions",
        **options,
    }

    @endpoint("GET", "/_matrix/client/versions", **given)
    async def versions() -> Empty:
        """Answer."""
        return Empty()

    found: Endpoint = versions.__endpoint__  # type: ignore[attr-defined]
    return found


def faults(
    *endpoints: Endpoint,
    not_yet: tuple[NotYet, ...] = (),
    deviations: tuple[Deviation, ...] = (),
    operation: SpecOperation = HEALTH,
) -> list[str]:
    return find_faults(Status([operation], endpoints, not_yet, deviations))


MISSING = NotYet(api="client-server", operation_id="getVersions", reason="later")
DEVIATING = Deviation(
    api="client-server", operation_id="getVersions", fact="auth", ours="optional", reason="because"
)


def test_an_operation_that_is_declared_is_no_fault() -> None:
    assert faults(declared()) == []


def test_an_operation_that_is_written_down_as_missing_is_no_fault() -> None:
    assert faults(not_yet=(MISSING,)) == []


def test_an_operation_that_is_nowhere_is_a_fault() -> None:
    assert "neither" in faults()[0]


def test_an_operation_in_both_places_is_a_fault() -> None:
    assert "take it out" in faults(declared(), not_yet=(MISSING,))[0]


def test_a_missing_operation_that_does_not_exist_is_a_fault() -> None:
    unknown = msgspec.structs.replace(MISSING, operation_id="getNothing")
    assert "no operation" in faults(declared(), not_yet=(unknown,))[0]


def test_other_authentication_is_a_fault_unless_it_is_written_down() -> None:
    optional = declared(auth=Auth.OPTIONAL)
    assert "auth is optional" in faults(optional)[0]
    assert faults(optional, deviations=(DEVIATING,)) == []


def test_a_deviation_that_is_none_is_a_fault() -> None:
    assert "deviates in nothing" in faults(declared(), deviations=(DEVIATING,))[0]


def test_what_the_specification_limits_must_be_limited() -> None:
    assert "rate_limit" in faults(declared(rate_limit=None))[0]


def test_what_the_specification_does_not_limit_may_be_limited() -> None:
    free = msgspec.structs.replace(HEALTH, is_rate_limited=False)
    assert faults(declared(), operation=free) == []
    assert faults(declared(rate_limit=None), operation=free) == []


def test_the_anchor_is_that_of_the_operation() -> None:
    wrong = declared(spec="client-server-api/#get_matrixclientv3sync")
    assert "client-server-api/#get_matrixclientversions" in faults(wrong)[0]


def test_an_anchor_of_no_operation_is_a_fault() -> None:
    invented = declared(spec="client-server-api/#get_matrixclientv9versions")
    assert any("the specification has no" in fault for fault in faults(invented))


def test_deprecation_is_declared() -> None:
    assert "deprecated" in faults(declared(deprecated=True))[0]


def test_operations_that_others_answer_are_left_to_them() -> None:
    others = msgspec.structs.replace(HEALTH, api="push-gateway")
    assert faults(operation=others) == []


def test_the_names_in_braces_do_not_matter() -> None:
    assert without_names("/a/{roomId}/b/{x}") == without_names("/a/{room_id}/b/{y}")
