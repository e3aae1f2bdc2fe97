"""Asking policy servers for signatures: the port `PolicySigner`."""

from typing import Final

from federation.transport.client import FederationClient, path_of
from federation.transport.failures import RemoteRefusal
from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.web.paths import POLICY_V1

_MAX_BYTES: Final = 64 * 1024
# Whoever else writes to the room waits meanwhile.
_TIMEOUT_MS: Final = 5_000


class FederationPolicySigner:
    """Asks one policy server."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def sign(self, server: ServerName, pdu: JsonObject) -> JsonObject:
        """Return signatures by server name and key ID, unchecked.

        Raises MatrixError: the error that the policy server answers, as it is; RemoteError.
        Spec: server-server-api/#post_matrixpolicyv1sign
        """
        try:
            return await self._client.post(
                server,
                path_of(POLICY_V1, "sign"),
                body=pdu,
                max_bytes=_MAX_BYTES,
                timeout_ms=_TIMEOUT_MS,
                # It need not take transactions, and be left alone for that.
                ignore_backoff=True,
            )
        except RemoteRefusal as refusal:
            answer = {**refusal.answer}
            errcode, error = answer.pop("errcode", None), answer.pop("error", None)
            if refusal.status is None or refusal.status >= 500 or not isinstance(errcode, str):
                raise
            # "that error SHOULD be provided to the client verbatim"
            text = error if isinstance(error, str) else "The policy server refuses the event"
            raise MatrixError(refusal.status, errcode, text, **answer) from refusal
