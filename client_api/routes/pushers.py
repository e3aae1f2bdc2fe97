"""Pushers. Spec: client-server-api/#push-notifications"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from homeserver.services.push.unsubscribing import UnsubscribePages
from homeserver.services.pushers import NewPusher, Pushers
from homeserver.web.answers import Empty, JsonBytes, Page
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Query
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3
from homeserver.web.requester import Requester


class PushersAnswer(msgspec.Struct, frozen=True):
    """All pushers of the user."""

    pushers: list[dict[str, Any]]


class PusherBody(Body, frozen=True):
    """A pusher to set; `kind` null deletes it, and then the rest may be absent."""

    app_id: str
    pushkey: str
    kind: str | None
    app_display_name: str | None = None
    device_display_name: str | None = None
    profile_tag: str | None = None
    lang: str | None = None
    data: dict[str, Any] | None = None
    append: bool = False
    enabled: bool | None = msgspec.field(default=None, name="org.matrix.msc3881.enabled")


class AckBody(Body, frozen=True):
    """What a client got by Web Push."""

    app_id: str
    ack_token: Annotated[str, Meta(max_length=255)]


class UnsubscribeQuery(Query, frozen=True):
    """What the link in a mail carries."""

    token: str = ""


class PusherRoutes:
    """`/pushers`."""

    def __init__(self, pushers: Pushers, pages: UnsubscribePages) -> None:
        self._pushers = pushers
        self._pages = pages

    @endpoint(
        "GET",
        CLIENT_V3 / "pushers",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3pushers",
    )
    async def get_pushers(self, requester: Requester) -> PushersAnswer:
        """Get the current pushers for the authenticated user."""
        return PushersAnswer(await self._pushers.of_user(requester.user_id))

    @endpoint(
        "POST",
        CLIENT_V3 / "pushers/set",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3pushersset",
    )
    async def post_pusher(self, requester: Requester, body: PusherBody) -> Empty | JsonBytes:
        """Modify a pusher for this user on the homeserver."""
        if body.kind is None:
            await self._pushers.delete(requester.user_id, body.app_id, body.pushkey)
            return Empty()
        new = NewPusher(
            app_id=body.app_id,
            pushkey=body.pushkey,
            kind=body.kind,
            app_display_name=body.app_display_name,
            device_display_name=body.device_display_name,
            profile_tag=body.profile_tag,
            lang=body.lang,
            content=body.data,
            append=body.append,
            is_enabled=body.enabled,
        )
        if await self._pushers.put(requester, new):
            # As MSC4174 has it: "The pusher is set but needs to be activated".
            return JsonBytes(b"{}", status=201)
        return Empty()

    @endpoint(
        "POST",
        CLIENT_UNSTABLE / "org.matrix.msc4174/pushers/ack",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="MSC4174",
    )
    async def post_pusher_ack(self, requester: Requester, body: AckBody) -> Empty:
        """Activate a Web Push pusher."""
        await self._pushers.acknowledge(requester.user_id, body.app_id, body.ack_token)
        return Empty()

    @endpoint(
        "GET",
        CLIENT_UNSTABLE / "org.homeserver/pushers/unsubscribe",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="ours/#e-mail",
    )
    async def get_unsubscribe_page(self, query: UnsubscribeQuery) -> Page:
        """Get the page to which the link in a mail leads; it changes nothing by itself."""
        return await self._pages.show(query.token)

    @endpoint(
        "POST",
        CLIENT_UNSTABLE / "org.homeserver/pushers/unsubscribe",
        auth=Auth.NONE,
        rate_limit=RateLimit.DEFAULT,
        spec="ours/#e-mail",
    )
    async def post_unsubscribe(self, query: UnsubscribeQuery) -> Page:
        """End the mails of a link, by its page or by one click in a mail program (RFC 8058)."""
        return await self._pages.confirm(query.token)
