import asyncio

import bcrypt
import pytest

from homeserver.config.sections.passwords import PasswordsSection
from homeserver.config.values import Secret
from homeserver.errors import LimitExceeded, WeakPassword
from homeserver.services.passwords import Passwords, Verdict

RIGHT = Verdict(is_right=True, is_outdated=False)
OUTDATED = Verdict(is_right=True, is_outdated=True)
WRONG = Verdict(is_right=False, is_outdated=False)


def passwords(**settings: object) -> Passwords:
    return Passwords(PasswordsSection(**{"bcrypt_cost": 4, **settings}))  # type: ignore[arg-type]


def plain_bcrypt(password: bytes) -> str:
    return bcrypt.hashpw(password[:72], bcrypt.gensalt(4)).decode()


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("secret", id="short"),
        pytest.param("übers3kr1t €", id="not ASCII"),
        pytest.param("x" * 5000, id="longer than bcrypt takes"),
        pytest.param("a\0b", id="with NUL"),
    ],
)
async def test_a_password_verifies_against_its_hash_and_another_does_not(password: str) -> None:
    checked = passwords()
    stored = await checked.hash(password)
    assert await checked.verify(password, stored) == RIGHT
    assert await checked.verify(password + "x", stored) == WRONG
    assert await checked.verify("", stored) == WRONG


async def test_what_is_beyond_72_bytes_counts() -> None:
    checked = passwords()
    stored = await checked.hash("x" * 72 + "1")
    assert await checked.verify("x" * 72 + "2", stored) == WRONG


async def test_the_same_password_has_another_hash_each_time() -> None:
    checked = passwords()
    assert await checked.hash("secret") != await checked.hash("secret")


async def test_composed_and_decomposed_letters_are_the_same() -> None:
    checked = passwords()
    assert await checked.verify("cafe\u0301", await checked.hash("caf\u00e9")) == RIGHT


async def test_a_plain_bcrypt_hash_from_elsewhere_verifies_and_is_outdated() -> None:
    stored = plain_bcrypt(b"secret")
    assert await passwords().verify("secret", stored) == OUTDATED
    assert await passwords().verify("wrong", stored) == WRONG


async def test_an_imported_hash_saw_72_bytes_only() -> None:
    stored = plain_bcrypt(b"x" * 80)
    assert await passwords().verify("x" * 80, stored) == OUTDATED


async def test_an_imported_hash_with_a_pepper_verifies() -> None:
    stored = plain_bcrypt(b"secretsalty")
    assert await passwords(pepper=Secret("salty")).verify("secret", stored) == OUTDATED


async def test_a_hash_of_another_cost_is_outdated() -> None:
    stored = await passwords(bcrypt_cost=5).hash("secret")
    assert await passwords(bcrypt_cost=4).verify("secret", stored) == OUTDATED


async def test_the_pepper_is_needed() -> None:
    stored = await passwords(pepper=Secret("salty")).hash("secret")
    assert await passwords(pepper=Secret("salty")).verify("secret", stored) == RIGHT
    assert await passwords().verify("secret", stored) == WRONG


@pytest.mark.parametrize("stored", ["", "junk", "$1$md5", "sha256-bcrypt:", "$2b$xx$"])
async def test_a_hash_of_an_unknown_kind_never_verifies(stored: str) -> None:
    assert await passwords().verify("secret", stored) == WRONG


async def test_where_nothing_is_stored_a_hash_is_computed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs = []
    hashpw = bcrypt.hashpw

    def watched(password: bytes, salt: bytes) -> bytes:
        costs.append(salt[:7])
        return hashpw(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", watched)
    assert await passwords().verify("secret", None) == WRONG
    assert costs == [b"$2b$04$"]


async def test_too_many_at_once_are_asked_to_come_again() -> None:
    checked = passwords()
    results = await asyncio.gather(
        *(checked.hash("secret") for _ in range(80)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, LimitExceeded)]
    assert len(refused) == 16
    assert isinstance(await checked.hash("secret"), str)


@pytest.mark.parametrize(("password", "is_strong"), [("seven77", False), ("eight888", True)])
def test_the_policy_sets_a_length(password: str, is_strong: bool) -> None:
    checked = passwords(min_length=8)
    if is_strong:
        checked.check_strength(password)
    else:
        with pytest.raises(WeakPassword):
            checked.check_strength(password)


def test_an_empty_password_is_always_too_weak() -> None:
    with pytest.raises(WeakPassword):
        passwords().check_strength("")
