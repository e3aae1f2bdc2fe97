"""Cross-signing. Spec: client-server-api/#cross-signing"""

from typing import Final

from msgspec import Struct

from homeserver.errors import BadJson
from homeserver.protocol.identifiers import parse_user_id
from homeserver.protocol.json_types import JsonObject
from homeserver.services.cross_signing import CrossSigning, CrossSigningForm
from homeserver.services.key_signatures import KeySignatures
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import RawBody, RequestFacts
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3
from homeserver.web.requester import Requester

MAX_BODY_BYTES: Final = 4 * 1024 * 1024


class SignaturesAnswer(Struct, frozen=True):
    """Errors, by user and key, of what could not be taken."""

    failures: dict[str, JsonObject]


class CrossSigningRoutes:
    """`/keys/device_signing/upload` and `/keys/signatures/upload`."""

    def __init__(self, cross_signing: CrossSigning, signatures: KeySignatures) -> None:
        self._cross_signing = cross_signing
        self._signatures = signatures

    @endpoint(
        "POST",
        CLIENT_V3 / "keys/device_signing/upload",
        # COMPAT(clients before v1.1)
        also=[CLIENT_UNSTABLE / "keys/device_signing/upload"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#post_matrixclientv3keysdevice_signingupload",
    )
    async def post_device_signing_upload(
        self, requester: Requester, body: CrossSigningForm, request: RequestFacts
    ) -> Empty:
        """Publish cross-signing keys for the user."""
        await self._cross_signing.upload(requester, body, request)
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "keys/signatures/upload",
        also=[CLIENT_UNSTABLE / "keys/signatures/upload"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        max_body_bytes=MAX_BODY_BYTES,
        spec="client-server-api/#post_matrixclientv3keyssignaturesupload",
    )
    async def post_signatures_upload(self, requester: Requester, body: RawBody) -> SignaturesAnswer:
        """Publish cross-signing signatures for the user."""
        signed = {parse_user_id(name): _objects(name, of) for name, of in body.content.items()}
        return SignaturesAnswer(await self._signatures.upload(requester.user_id, signed))


def _objects(user_id: str, objects: object) -> dict[str, JsonObject]:
    if not isinstance(objects, dict) or not all(isinstance(o, dict) for o in objects.values()):
        raise BadJson(f"What is signed of {user_id} must be objects by key ID")
    return objects
