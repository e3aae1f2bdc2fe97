"""Spec: appendices/#3pid-types"""

import pytest

from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.third_party_ids import (
    MAX_EMAIL_BYTES,
    canonical_address,
    canonical_email,
    is_opaque,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("bob@example.com", "bob@example.com"),
        ("bob@Example.com", "bob@example.com"),
        ("BOB@example.com", "bob@example.com"),
        # The specification's example of case folding.
        ("Strauß@Example.com", "strauss@example.com"),
        (" bob@example.com ", "bob@example.com"),
        ("bob+tag@mail.example.com", "bob+tag@mail.example.com"),
        ("u\u0308ber@example.com", "\u00fcber@example.com"),
        ("root@localhost", "root@localhost"),
        ("a@b", "a@b"),
    ],
)
def test_every_form_of_an_email_address_has_one_canonical_form(text: str, address: str) -> None:
    assert canonical_email(text) == address
    assert canonical_address("email", address) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bob",
        "@example.com",
        "bob@",
        "bob@example.com@example.org",
        "Bob <bob@example.com>",
        "<bob@example.com>",
        "mailto:bob@example.com",
        '"bob"@example.com',
        "bob@[127.0.0.1]",
        "bob,alice@example.com",
        "bob smith@example.com",
        "bob@exam ple.com",
        "bob\n@example.com",
        "bob\0@example.com",
        "bob\u200b@example.com",
        "bob@.example.com",
        "bob@example.com.",
        "bob@example..com",
        "bob..smith@example.com",
        ".bob@example.com",
        "bob.@example.com",
        "x" * MAX_EMAIL_BYTES + "@example.com",
    ],
)
def test_what_is_no_email_address(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        canonical_email(text)


def test_the_longest_address() -> None:
    longest = "x" * (MAX_EMAIL_BYTES - len("@example.com")) + "@example.com"
    assert canonical_email(longest) == longest
    with pytest.raises(InvalidIdentifier):
        canonical_email("x" + longest)


def test_phone_numbers_are_digits() -> None:
    assert canonical_address("msisdn", "447700900001") == "447700900001"
    for text in ("+447700900001", "", "1" * 16, "44 7700", "\u0664\u0664"):
        with pytest.raises(InvalidIdentifier):
            canonical_address("msisdn", text)


def test_other_media_are_unknown() -> None:
    with pytest.raises(InvalidIdentifier):
        canonical_address("pigeon", "bob@example.com")


def test_opaque_texts() -> None:
    assert is_opaque("a-Z0.=_")
    assert is_opaque("x" * 255)
    for text in ("", "x" * 256, "a b", "a\n", "\u00e9", "a/b"):
        assert not is_opaque(text)
