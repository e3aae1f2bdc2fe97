"""The signatures of events: which keys they need, and many of them verified at once."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from federation.keys.fetch import Wanted
from federation.keys.key_ring import KeyRing, KeysFound
from homeserver.protocol.errors import BadSignature, InvalidJson
from homeserver.protocol.event import Event
from homeserver.protocol.event_signers import required_signers
from homeserver.protocol.hashing import bytes_to_sign
from homeserver.protocol.identifiers import EventID, KeyID, ServerName
from homeserver.protocol.room_versions import RoomVersionRules, rules_of
from homeserver.protocol.signing import verify_bytes

# A thread takes over where verifying takes longer than the change of threads (0.1 ms).
_INLINE_EVENTS: Final = 2
# About 10 ms; half of that libsodium works without the interpreter's lock.
_EVENTS_FOR_ONE_THREAD: Final = 100
# Servers sign with one key, or with two while they change it.
_MAX_SIGNATURES: Final = 4


class _ToVerify(msgspec.Struct, frozen=True):
    """An event, its room version and the servers that must have signed it."""

    event: Event
    rules: RoomVersionRules
    signers: frozenset[ServerName]

    @property
    def minimum_valid_until_ts(self) -> int:
        """Until when keys must be valid. Spec: rooms/v5/#signing-key-validity-period"""
        return max(self.event.origin_server_ts, 0) if self.rules.enforce_key_validity else 0

    def signatures(self, server: ServerName) -> dict[KeyID, str]:
        """Return the first few signatures of a server, by key ID."""
        of_server = self.event.pdu["signatures"].get(server, {})
        known = [each for each in of_server if each.startswith("ed25519:")]
        return {KeyID(key_id): of_server[key_id] for key_id in known[:_MAX_SIGNATURES]}


class EventSignatures:
    """Verifies the signatures of events: the port of the same name."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    async def verify_events(self, events: Sequence[Event]) -> frozenset[EventID]:
        """Return which of the events carry every signature that they must have.

        Spec: server-server-api/#validating-hashes-and-signatures-on-received-events
        """
        checks = [
            _ToVerify(event, rules, signers)
            for event in events
            if (signers := required_signers(event, rules := rules_of(event.room_version)))
            is not None
        ]
        keys = await self._ring.keys_of(_wanted(checks))
        if len(checks) <= _INLINE_EVENTS:
            return frozenset(_verified(checks, keys))
        batches = [
            checks[start : start + _EVENTS_FOR_ONE_THREAD]
            for start in range(0, len(checks), _EVENTS_FOR_ONE_THREAD)
        ]
        found = await asyncio.gather(
            *(asyncio.to_thread(_verified, batch, keys) for batch in batches)
        )
        return frozenset(event_id for each in found for event_id in each)


def _wanted(checks: Sequence[_ToVerify]) -> Mapping[ServerName, Wanted]:
    wanted: dict[ServerName, dict[KeyID, int]] = {}
    for check in checks:
        for server in check.signers:
            of_server = wanted.setdefault(server, {})
            for key_id in check.signatures(server):
                of_server[key_id] = max(of_server.get(key_id, 0), check.minimum_valid_until_ts)
    return {server: of_server for server, of_server in wanted.items() if of_server}


def _verified(checks: Sequence[_ToVerify], keys: KeysFound) -> list[EventID]:
    return [check.event.event_id for check in checks if _is_signed(check, keys)]


def _is_signed(check: _ToVerify, keys: KeysFound) -> bool:
    """Whether every signer has signed, and none of their signatures by valid keys is wrong."""
    try:
        message = bytes_to_sign(check.event.pdu, check.rules)
        return all(_signs(server, check, keys, message) for server in check.signers)
    except (BadSignature, InvalidJson):
        return False


def _signs(server: ServerName, check: _ToVerify, keys: KeysFound, message: bytes) -> bool:
    """Whether a server has signed. Raises BadSignature: wrongly."""
    count = 0
    for key_id, signature in check.signatures(server).items():
        key = keys.get((server, key_id))
        # "If a signature is from an unknown or expired key, it is skipped."
        if key is None or not key.is_valid_at(check.minimum_valid_until_ts):
            continue
        verify_bytes(message, signature, key.key)
        count += 1
    return count > 0
