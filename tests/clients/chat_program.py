"""A chat program on matrix-nio, as somebody would write one who knows nothing of this server.

    python -m tests.clients.chat_program URL NAME PEER MESSAGES

It registers NAME. Who comes first in the alphabet makes the room and invites PEER; the other
accepts. Each sends MESSAGES messages, and the maker of the room redacts one. It ends when it has
seen all of it in /sync. Standard output has a line of JSON for each acknowledged message and, at
the end, one with everything that the program has seen.
"""

import asyncio
import contextlib
import json
import sys
from typing import Any

import aiohttp
from nio import (
    AsyncClient,
    AsyncClientConfig,
    Event,
    InviteMemberEvent,
    JoinResponse,
    MatrixRoom,
    RedactedEvent,
    RedactionEvent,
    RegisterResponse,
    RoomCreateResponse,
    RoomInviteResponse,
    RoomMemberEvent,
    RoomMessagesResponse,
    RoomMessageText,
    RoomRedactResponse,
    RoomSendResponse,
    SyncResponse,
)

# A burst between two syncs must not leave a gap that only /messages could fill.
FILTER = {"room": {"timeline": {"limit": 1000}}}
REDACTED = 2
LONG_POLL_MS = 30_000
RETRY_SECONDS = 0.1
# A server that does not recover in this time never will.
PATIENCE_SECONDS = 120


class Chat:
    """One user of the room."""

    def __init__(self, url: str, name: str, peer: str, messages: int) -> None:
        # nio tries again by itself, with the same transaction ID, when a connection breaks.
        config = AsyncClientConfig(max_timeout_retry_wait_time=0.5, request_timeout=30)
        self._client = AsyncClient(url, name, config=config)
        self._name = name
        self._peer = f"@{peer}:localhost"
        self._makes_room = name < peer
        self._messages = messages
        self._room_id = ""
        self._acknowledged: list[tuple[str, str]] = []
        self._seen: list[tuple[str, str, str | None]] = []
        self._redactions: list[str] = []
        self._invitation: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._peer_is_here = asyncio.Event()
        self._has_seen_all = asyncio.Event()
        self._client.add_event_callback(self._on_invite, InviteMemberEvent)
        self._client.add_event_callback(self._on_member, RoomMemberEvent)
        self._client.add_event_callback(self._on_message, (RoomMessageText, RedactedEvent))
        self._client.add_event_callback(self._on_redaction, RedactionEvent)

    async def run(self) -> dict[str, Any]:
        """Chat, and return what was acknowledged, seen in /sync and found in the history."""
        await self._until(RegisterResponse, self._client.register, self._name, "correct horse")
        syncing = asyncio.create_task(self._sync())
        try:
            await (self._make_room() if self._makes_room else self._accept_invitation())
            for number in range(self._messages):
                await self._send(number)
            if self._makes_room:
                await self._redact()
            await self._has_seen_all.wait()
            return {
                "room_id": self._room_id,
                "acknowledged": self._acknowledged,
                "seen": self._seen,
                "redactions": self._redactions,
                "history": await self._history(),
            }
        finally:
            syncing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await syncing
            await self._client.close()

    async def _until(self, wanted: type, call: Any, *arguments: Any, **named: Any) -> Any:
        """Repeat a request while the server is away or has trouble."""
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                answer = await call(*arguments, **named)
                if isinstance(answer, wanted):
                    return answer
                if answer.transport_response.status < 500:
                    raise RuntimeError(str(answer))
            await asyncio.sleep(RETRY_SECONDS)

    async def _sync(self) -> None:
        while True:
            await self._until(
                SyncResponse, self._client.sync, timeout=LONG_POLL_MS, sync_filter=FILTER
            )

    async def _make_room(self) -> None:
        made = await self._until(RoomCreateResponse, self._client.room_create, name="Chat")
        self._room_id = made.room_id
        await self._until(RoomInviteResponse, self._client.room_invite, self._room_id, self._peer)
        await self._peer_is_here.wait()

    async def _accept_invitation(self) -> None:
        self._room_id = await self._invitation
        await self._until(JoinResponse, self._client.join, self._room_id)

    async def _send(self, number: int) -> None:
        body = f"{self._name} {number}"
        sent = await self._until(
            RoomSendResponse,
            self._client.room_send,
            self._room_id,
            "m.room.message",
            {"msgtype": "m.text", "body": body},
            tx_id=f"message-{number}",
        )
        self._acknowledged.append((sent.event_id, body))
        say({"acknowledged": len(self._acknowledged)})

    async def _redact(self) -> None:
        event_id, _ = self._acknowledged[REDACTED]
        await self._until(
            RoomRedactResponse,
            self._client.room_redact,
            self._room_id,
            event_id,
            reason="a slip",
            tx_id="redaction",
        )

    async def _history(self) -> list[tuple[str, str, str | None]]:
        """Page back to the creation of the room; return its messages, oldest first."""
        found: list[tuple[str, str, str | None]] = []
        start = self._client.next_batch
        while start is not None:
            page = await self._until(
                RoomMessagesResponse, self._client.room_messages, self._room_id, start, limit=30
            )
            found += [_shown(event) for event in page.chunk if _is_message(event)]
            start = page.end
        return found[::-1]

    async def _on_invite(self, room: MatrixRoom, event: InviteMemberEvent) -> None:
        is_ours = event.membership == "invite" and event.state_key == self._client.user_id
        if is_ours and not self._invitation.done():
            self._invitation.set_result(room.room_id)

    async def _on_member(self, _room: MatrixRoom, event: RoomMemberEvent) -> None:
        if event.state_key == self._peer and event.membership == "join":
            self._peer_is_here.set()

    async def _on_message(self, _room: MatrixRoom, event: Event) -> None:
        if _is_message(event):
            self._seen.append(_shown(event))
            self._look()

    async def _on_redaction(self, _room: MatrixRoom, event: RedactionEvent) -> None:
        self._redactions.append(event.redacts)
        self._look()

    def _look(self) -> None:
        different = {event_id for event_id, _, _ in self._seen}
        if len(different) >= 2 * self._messages and self._redactions:
            self._has_seen_all.set()


def _is_message(event: Event) -> bool:
    if isinstance(event, RedactedEvent):
        return bool(event.type == "m.room.message")
    return isinstance(event, RoomMessageText)


def _shown(event: Event) -> tuple[str, str, str | None]:
    body = event.body if isinstance(event, RoomMessageText) else None
    return event.event_id, event.sender, body


def say(fact: dict[str, Any]) -> None:
    """Tell whoever started this program."""
    sys.stdout.write(f"{json.dumps(fact)}\n")
    sys.stdout.flush()


async def main(url: str, name: str, peer: str, messages: str) -> None:
    """Chat and report."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        say(await Chat(url, name, peer, int(messages)).run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
