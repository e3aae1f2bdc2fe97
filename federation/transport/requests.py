"""A request to another server before it is sent: its target, its bytes, its signature."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, urlencode

from federation.x_matrix import authorization_header
from homeserver.protocol.canonical_json import encode_canonical_lenient
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import SigningKey
from homeserver.web.paths import PathRoot

Query: TypeAlias = Mapping[str, str | int | Sequence[str]]
Method: TypeAlias = Literal["GET", "PUT", "POST"]


def path_of(root: PathRoot, *segments: str) -> str:
    """Return the path of an operation; identifiers are escaped here and nowhere else."""
    return "/".join((root.canonical, *(quote(each, safe="") for each in segments)))


class OutgoingRequest:
    """What is sent to one destination."""

    def __init__(
        self,
        method: Method,
        destination: ServerName,
        path: str,
        query: Query | None = None,
        body: JsonObject | None = None,
    ) -> None:
        """Raises InvalidJson: the body cannot be encoded."""
        self.method: Final[Method] = method
        self.destination: Final = destination
        # Path and query exactly as they go out, and as they are signed.
        encoded = urlencode(query, doseq=True, quote_via=quote) if query else ""
        self.target: Final = f"{path}?{encoded}" if encoded else path
        # Sent as it is signed. Transactions may carry events of rooms that allow floats.
        self.body: Final = None if body is None else encode_canonical_lenient(body)
        self.operation: Final = _operation_of(path)

    def headers(self, own_name: ServerName, key: SigningKey) -> dict[str, str]:
        """Return the headers that prove who sends it."""
        authorization = authorization_header(
            method=self.method,
            uri=self.target,
            origin=own_name,
            destination=self.destination,
            body=self.body,
            key=key,
        )
        headers = {"Authorization": authorization}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        return headers


def _operation_of(path: str) -> str:
    """Return a name for metrics: `/_matrix/federation/v1/send/…` is `federation_send`."""
    _, _, api, _, operation, *_ = path.split("/")
    return f"{api}_{operation}"
