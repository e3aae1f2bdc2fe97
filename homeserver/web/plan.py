"""An endpoint made ready to answer: its decoders and metrics, prepared once."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec
from prometheus_client import Histogram

from homeserver.protocol.json_types import JsonValue
from homeserver.web.decoding import (
    BodyDecoder,
    PathDecoder,
    QueryDecoder,
    RawBodyDecoder,
    decode_body,
)
from homeserver.web.endpoint import Auth, BoundEndpoint
from homeserver.web.params import RawBody

# A decoder follows from its type alone, and types are constants of the code. Reading the
# annotations is most of a start, and endpoints share types.
_path_decoder: Final = cache(PathDecoder)
_query_decoder: Final = cache(QueryDecoder)
_json_body_decoder: Final = cache(BodyDecoder)


class SignedBody(msgspec.Struct, frozen=True):
    """A body that was decoded before the parameters, because its signature covers it."""

    raw: bytes
    # UNSET: there is none.
    content: JsonValue | msgspec.UnsetType


class Plan:
    """What the dispatch needs to know of an endpoint, without looking anything up."""

    def __init__(self, bound: BoundEndpoint, max_body_bytes: int, seconds: Histogram) -> None:
        endpoint = bound.endpoint
        takes = endpoint.parameters
        self.endpoint = endpoint
        self.call = bound.call
        self.is_signed = endpoint.auth is Auth.SERVER_SIGNATURE
        self.takes_requester = "requester" in takes
        self.takes_origin = "origin" in takes
        self.takes_upload = "upload" in takes
        self.takes_request = "request" in takes
        self.max_body_bytes = endpoint.max_body_bytes or max_body_bytes
        self.decode_path = _path_decoder(endpoint.path_type) if endpoint.path_type else None
        self.decode_query = _query_decoder(endpoint.query_type) if endpoint.query_type else None
        self.decode_body = _body_decoder(bound)
        self._seconds = seconds
        # By status; endpoints answer with a handful of them.
        self._histograms: dict[int, Histogram] = {}

    def observe(self, status: int, seconds: float) -> None:
        """Record that the endpoint answered."""
        histogram = self._histograms.get(status)
        if histogram is None:
            histogram = self._seconds.labels(self.endpoint.operation, str(status))
            self._histograms[status] = histogram
        histogram.observe(seconds)

    def parameters(self, segments: Mapping[str, str], query: str) -> dict[str, Any]:
        """Decode path and query. Raises InvalidParam, MissingParam."""
        parameters: dict[str, Any] = {}
        if self.decode_path is not None:
            parameters["path"] = self.decode_path(segments)
        if self.decode_query is not None:
            parameters["query"] = self.decode_query(query)
        return parameters

    def signed_body(self, raw: bytes) -> SignedBody:
        """Decode a body for the check of its signature. Raises NotJson."""
        return SignedBody(raw, decode_body(raw) if raw else msgspec.UNSET)

    def convert_signed(self, body: SignedBody) -> msgspec.Struct:
        """Convert a decoded body to the type of the endpoint. Raises like a body decoder."""
        assert self.decode_body is not None
        if body.content is msgspec.UNSET:
            return self.decode_body(body.raw)
        if isinstance(self.decode_body, RawBodyDecoder):
            return self.decode_body.convert(body.content, body.raw)
        return self.decode_body.convert(body.content)


def _body_decoder(bound: BoundEndpoint) -> BodyDecoder | RawBodyDecoder | None:
    body_type = bound.endpoint.body_type
    if body_type is None:
        return None
    if issubclass(body_type, RawBody):
        return RawBodyDecoder()
    return _json_body_decoder(body_type)
