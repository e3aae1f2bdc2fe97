"""Verifying ID tokens. OpenID Connect Core 3.1.3.7 has the rules."""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jwt

from homeserver.config.sections.single_sign_on import OidcProvider
from homeserver.services.single_sign_on.oidc_metadata import OidcMetadata
from homeserver.services.single_sign_on.provider import Claims, SignInFailed
from homeserver.telemetry.clock import Clock

# How far the provider's clock may be from ours.
_LEEWAY_SECONDS: Final = 60
_REFUSAL: Final = "What the provider has sent cannot be trusted"
_OPTIONS: Final[Any] = {
    "require": ["iss", "aud", "exp", "iat"],
    # The injected clock decides; see `_check_times`.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
}
# What keys and tokens of a strange shape make the library raise, besides its own errors.
_FAULTS: Final = (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError)


class _NoKeyFits(Exception):
    """None of the keys has made the signature."""


class IdTokens:
    """Verifies the tokens of one provider."""

    def __init__(self, settings: OidcProvider, metadata: OidcMetadata, clock: Clock) -> None:
        self._settings = settings
        self._metadata = metadata
        self._clock = clock

    async def verify(self, token: str, nonce: str) -> Claims:
        """Return the claims of a token that answers the question with this nonce.

        Raises SignInFailed.
        """
        algorithm, key_id = self._header_of(token)
        may_be_old = self._metadata.has_keys
        try:
            claims = self._decoded(token, algorithm, key_id, await self._metadata.keys())
        except _NoKeyFits:
            if not may_be_old:
                raise SignInFailed(_REFUSAL, reason="signed by an unknown key") from None
            # The provider may have changed its keys.
            keys = await self._metadata.keys(is_fresh_wanted=True)
            try:
                claims = self._decoded(token, algorithm, key_id, keys)
            except _NoKeyFits:
                raise SignInFailed(_REFUSAL, reason="signed by an unknown key") from None
        self._check_times(claims)
        self._check_parties(claims)
        if not _is_same(claims.get("nonce"), nonce):
            raise SignInFailed(_REFUSAL, reason="wrong nonce")
        return claims

    def _header_of(self, token: str) -> tuple[str, str | None]:
        try:
            header = jwt.get_unverified_header(token)
        except _FAULTS as error:
            raise SignInFailed(_REFUSAL, reason=f"no token: {error}") from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        # Before any key is looked at: "none", and a public key taken for a shared secret.
        if algorithm not in self._settings.id_token_algorithms:
            raise SignInFailed(_REFUSAL, reason=f"algorithm {algorithm!r}")
        return str(algorithm), key_id if isinstance(key_id, str) else None

    def _decoded(
        self, token: str, algorithm: str, key_id: str | None, keys: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        for key in _fitting(keys, algorithm, key_id):
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    audience=self._settings.client_id,
                    issuer=self._settings.issuer,
                    options=_OPTIONS,
                )
            except jwt.InvalidSignatureError:
                continue
            except _FAULTS as error:
                raise SignInFailed(_REFUSAL, reason=f"{type(error).__name__}: {error}") from error
            return claims
        raise _NoKeyFits

    def _check_times(self, claims: Claims) -> None:
        now = self._clock.now_ms() / 1000
        expires, issued, begins = claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)
        if not (_is_number(expires) and _is_number(issued) and _is_number(begins)):
            raise SignInFailed(_REFUSAL, reason="exp, iat and nbf must be numbers")
        # Neither holds of what is not a number (NaN), which JSON of this library can spell.
        if not claims["exp"] + _LEEWAY_SECONDS > now:
            raise SignInFailed(_REFUSAL, reason="the token has expired")
        if not max(claims["iat"], claims.get("nbf", 0)) - _LEEWAY_SECONDS <= now:
            raise SignInFailed(_REFUSAL, reason="the token is of the future")

    def _check_parties(self, claims: Claims) -> None:
        party, audience = claims.get("azp"), claims.get("aud")
        is_for_several = isinstance(audience, list) and len(audience) > 1
        if (party is not None or is_for_several) and party != self._settings.client_id:
            raise SignInFailed(_REFUSAL, reason="the token was issued to another party")


def _fitting(
    keys: Sequence[Mapping[str, Any]], algorithm: str, key_id: str | None
) -> Iterator[jwt.PyJWK]:
    """Yield the keys that may have made a signature."""
    for key in keys:
        if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
            continue
        if key_id is not None and key.get("kid", key_id) != key_id:
            continue
        try:
            yield jwt.PyJWK(dict(key), algorithm=algorithm)
        except _FAULTS:
            # Of another type than the algorithm wants, or of one that we do not know.
            continue


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_same(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(
        given.encode(errors="replace"), wanted.encode()
    )
