"""The rules for an invite that answers an `m.room.third_party_invite`.

Spec: server-server-api/#third-party-invites
"""

from collections.abc import Iterator
from itertools import islice, product
from typing import Final

from homeserver.protocol.auth_rules.context import AuthContext
from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.canonical_json import encode_canonical_lenient
from homeserver.protocol.errors import AuthRefusal, BadSignature, InvalidJson
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import verify_bytes

# Any signature may match any key. Identity servers give one signature and two keys; an event
# of 64 KiB has room for 600 signatures and another for 900 keys, half a minute of verifying.
# 256 attempts take some 15 ms. Not in the specification: our choice.
MAX_VERIFICATIONS: Final = 256


def check_third_party_invite(event: Event, target: UserID, context: AuthContext) -> None:
    """Judge an invite whose content has `third_party_invite`. Raises AuthRefusal."""
    # If target user is banned, reject.
    if context.membership_of(target) == "ban":
        raise AuthRefusal(AuthRule.THIRD_PARTY_BANNED, "The user is banned from the room")
    # If content.third_party_invite does not have a signed property, reject.
    invite = event.content["third_party_invite"]
    signed = invite.get("signed") if isinstance(invite, dict) else None
    if not isinstance(signed, dict):
        raise AuthRefusal(AuthRule.THIRD_PARTY_SIGNED, "third_party_invite has no signed object")
    # If signed does not have mxid and token properties, reject.
    token = signed.get("token")
    if "mxid" not in signed or not isinstance(token, str):
        raise AuthRefusal(AuthRule.THIRD_PARTY_UNADDRESSED, "signed lacks mxid or token")
    # If mxid does not match state_key, reject.
    if signed["mxid"] != target:
        raise AuthRefusal(AuthRule.THIRD_PARTY_MXID, "signed is for another user")
    # If there is no m.room.third_party_invite event in the current room state with state_key
    # matching token, reject.
    answered = context.get(("m.room.third_party_invite", token))
    if answered is None:
        raise AuthRefusal(AuthRule.THIRD_PARTY_UNKNOWN, "The room has no invite with the token")
    # If sender does not match sender of the m.room.third_party_invite, reject.
    if event.sender != answered.sender:
        raise AuthRefusal(AuthRule.THIRD_PARTY_SENDER, "Another user has sent the invite")
    # If any signature in signed matches any public key in the m.room.third_party_invite event,
    # allow. Otherwise, reject.
    if next(matching_keys(signed, answered.content), None) is None:
        raise AuthRefusal(AuthRule.THIRD_PARTY_SIGNATURE, "No signature fits a key of the invite")


def matching_keys(signed: JsonObject, answered: JsonObject) -> Iterator[str]:
    """Yield the keys of an `m.room.third_party_invite` that have signed an object, in base64."""
    try:
        message = encode_canonical_lenient(
            {key: signed[key] for key in signed if key not in ("signatures", "unsigned")}
        )
    except InvalidJson:
        return
    attempts = product(dict.fromkeys(_public_keys(answered)), dict.fromkeys(_signatures(signed)))
    for key, signature in islice(attempts, MAX_VERIFICATIONS):
        if _verifies(message, signature, key):
            yield key


def _public_keys(answered: JsonObject) -> Iterator[str]:
    """Yield the keys of an `m.room.third_party_invite`, in base64, in the order of the rule."""
    # 1. A single public key in the public_key property.
    if isinstance(key := answered.get("public_key"), str):
        yield key
    # 2. A list of public keys in the public_keys property.
    listed = answered.get("public_keys")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and isinstance(key := entry.get("public_key"), str):
            yield key


def _signatures(signed: JsonObject) -> Iterator[str]:
    """Yield the Ed25519 signatures of all servers, in base64."""
    by_server = signed.get("signatures")
    for by_key_id in by_server.values() if isinstance(by_server, dict) else ():
        for key_id, signature in by_key_id.items() if isinstance(by_key_id, dict) else ():
            if key_id.startswith("ed25519:") and isinstance(signature, str):
                yield signature


def _verifies(message: bytes, signature: str, key: str) -> bool:
    try:
        verify_bytes(message, signature, key)
    except BadSignature:
        return False
    return True
