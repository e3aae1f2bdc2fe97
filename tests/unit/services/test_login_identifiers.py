from typing import Any

import pytest

from homeserver.errors import InvalidParam, MissingParam
from homeserver.services.login_identifiers import (
    AddressedUser,
    LoginIdentifier,
    NamedUser,
    NoAddresses,
    parse_identifier,
)


@pytest.mark.parametrize(
    ("members", "meant"),
    [
        ({"identifier": {"type": "m.id.user", "user": "alice"}}, NamedUser("alice")),
        ({"identifier": {"type": "m.id.user", "user": ""}}, NamedUser("")),
        ({"user": "@alice:x"}, NamedUser("@alice:x")),
        (
            {"identifier": {"type": "m.id.user", "user": "alice"}, "user": "bob"},
            NamedUser("alice"),
        ),
        (
            {"identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b"}},
            AddressedUser("email", "a@b"),
        ),
        ({"identifier": {"medium": "email", "address": "a@b"}}, AddressedUser("email", "a@b")),
        ({"medium": "email", "address": "a@b"}, AddressedUser("email", "a@b")),
        (
            {"identifier": {"type": "m.id.phone", "country": "GB", "phone": "+44 7700 900"}},
            AddressedUser("msisdn", "447700900"),
        ),
        ({}, None),
        ({"identifier": None, "user": None, "medium": None}, None),
    ],
)
def test_whom_a_login_names(members: dict[str, Any], meant: LoginIdentifier | None) -> None:
    assert parse_identifier(members) == meant


@pytest.mark.parametrize(
    ("members", "refusal"),
    [
        ({"identifier": "alice"}, InvalidParam),
        ({"identifier": []}, InvalidParam),
        ({"identifier": {}}, MissingParam),
        ({"identifier": {"type": 1}}, InvalidParam),
        ({"identifier": {"type": "m.id.moon"}}, InvalidParam),
        ({"identifier": {"type": "m.id.user"}}, MissingParam),
        ({"identifier": {"type": "m.id.user", "user": 1}}, InvalidParam),
        ({"identifier": {"type": "m.id.thirdparty", "medium": "email"}}, MissingParam),
        ({"identifier": {"type": "m.id.phone", "country": "GB"}}, MissingParam),
        ({"user": ["alice"]}, InvalidParam),
        ({"medium": "email"}, MissingParam),
    ],
)
def test_malformed_identifiers_are_refused(
    members: dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        parse_identifier(members)


async def test_without_addresses_nobody_has_one() -> None:
    assert await NoAddresses().user_of("email", "a@b") is None
