"""Sending one notification to a push gateway or a push service."""

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from homeserver.errors import RemoteError
from homeserver.services.push import kinds
from homeserver.services.push.notification import (
    Push,
    gateway_body,
    rejected_keys,
    web_push_payload,
)
from homeserver.services.push.silent_hosts import SilentHosts
from homeserver.services.push.web_push import MAX_PAYLOAD_BYTES, VapidKey, encrypt, to_base64
from homeserver.storage.pushers import PusherRow
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.web.outgoing_http import JsonAnswer, OutgoingHttp

log = get_logger(__name__)

# RFC 8030, section 5.4: 32 characters of URL-safe Base64.
_TOPIC_LENGTH: Final = 32
# On these "the homeserver deletes the registration": MSC4174.
_GONE: Final = frozenset({403, 404, 410})
# It will never be taken: there is no use in trying again.
_TOO_LARGE: Final = 413
_HOPELESS: Final = frozenset({400, _TOO_LARGE})
_ACK_TTL_SECONDS: Final = 300

_decode: Final = msgspec.json.Decoder(dict).decode
_encode: Final = msgspec.json.Encoder().encode


class Result(Enum):
    """What came of it."""

    DELIVERED = "delivered"
    # The place does not exist any more, or never has: the pusher is to be deleted.
    GONE = "gone"
    # The notification cannot be delivered, but others can.
    REFUSED = "refused"
    # To be tried again.
    FAILED = "failed"


class WebPushMessage(NamedTuple):
    """What a push service is to deliver."""

    payload: bytes
    ttl_seconds: int
    is_urgent: bool
    topic: str | None = None


class Delivery:
    """Sends notifications over HTTP."""

    def __init__(
        self, http: OutgoingHttp, vapid: VapidKey, clock: Clock, metrics: Metrics, *, ttl_ms: int
    ) -> None:
        """`ttl_ms`: how long a push service keeps a notification for a browser that is closed."""
        self._http = http
        self._vapid = vapid
        self._clock = clock
        self._metrics = metrics
        self._ttl_seconds = ttl_ms // 1000
        self._silent = SilentHosts(clock)

    async def send(self, push: Push) -> Result:
        """Send a notification by the pusher's kind; raises nothing."""
        is_web_push = push.pusher.kind in kinds.WEB_PUSH_KINDS
        kind = kinds.WEB_PUSH if is_web_push else kinds.HTTP
        begin = self._clock.monotonic()
        if is_web_push:
            result = await self._send_web_push(push.pusher, self._web_push_message(push))
        else:
            result = await self._send_to_gateway(push)
        seconds = self._clock.monotonic() - begin
        self._metrics.push_seconds.labels(kind, result.value).observe(seconds)
        return result

    async def send_ack_token(self, pusher: PusherRow, ack_token: str) -> Result:
        """Send what a client activates its pusher with. Spec: MSC4174"""
        payload = _encode({"app_id": pusher.app_id, "ack_token": ack_token})
        return await self._send_web_push(
            pusher, WebPushMessage(payload, _ACK_TTL_SECONDS, is_urgent=True)
        )

    async def _send_to_gateway(self, push: Push) -> Result:
        url = str(push.content.get("url"))
        answer = await self._post(push.pusher, url, gateway_body(push))
        if answer is not None and answer.status == _TOO_LARGE:
            # Gateways to providers with small messages; whatever comes next would wait behind it.
            answer = await self._post(push.pusher, url, gateway_body(push, with_content=False))
        if answer is None:
            return Result.FAILED
        if answer.status != 200:
            log.info("push refused", pusher_nid=push.pusher.pusher_nid, status=answer.status)
            return Result.REFUSED if answer.status == _TOO_LARGE else Result.FAILED
        if push.pusher.pushkey in rejected_keys(answer.content):
            return Result.GONE
        return Result.DELIVERED

    def _web_push_message(self, push: Push) -> WebPushMessage:
        topic = None
        # For clients that show one notification a room: an older one is replaced.
        if push.event is not None and push.content.get("only_last_per_room") is True:
            digest = hashlib.sha256(push.event.room_id.encode()).digest()
            topic = to_base64(digest)[:_TOPIC_LENGTH]
        payload = web_push_payload(push, MAX_PAYLOAD_BYTES)
        return WebPushMessage(payload, self._ttl_seconds, push.is_urgent, topic)

    async def _send_web_push(self, pusher: PusherRow, message: WebPushMessage) -> Result:
        content = _decode(pusher.content)
        url = str(content.get("url"))
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            return Result.REFUSED
        body = encrypt(
            message.payload,
            receiver=kinds.decode_base64(pusher.pushkey),
            auth=kinds.decode_base64(content.get("auth")),
        )
        headers = {
            "Authorization": self._vapid.authorization(url, self._clock.now_ms()),
            "Content-Encoding": "aes128gcm",
            "TTL": str(message.ttl_seconds),
            "Urgency": "high" if message.is_urgent else "normal",
        }
        if message.topic is not None:
            headers["Topic"] = message.topic
        answer = await self._post(pusher, url, body, headers, "application/octet-stream")
        if answer is None:
            return Result.FAILED
        if 200 <= answer.status < 300:
            return Result.DELIVERED
        log.info("web push refused", pusher_nid=pusher.pusher_nid, status=answer.status)
        if answer.status in _GONE:
            return Result.GONE
        return Result.REFUSED if answer.status in _HOPELESS else Result.FAILED

    async def _post(
        self,
        pusher: PusherRow,
        url: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> JsonAnswer | None:
        """Send a request; None: there is no answer, or there was none just now."""
        if self._silent.is_silent(url):
            return None
        try:
            answer = await self._http.request_json(
                "POST", url, body=body, headers=headers, content_type=content_type
            )
        except RemoteError as error:
            self._silent.failed(url)
            log.info("push failed", pusher_nid=pusher.pusher_nid, reason=error.reason)
            return None
        self._silent.answered(url)
        return answer
