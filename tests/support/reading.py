"""What clients send and are told of reading: receipts, threads, unread counts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from homeserver.run.compose import RunningServer
from tests.support.client import Client, quoted

# A filter with which counts are told apart by thread.
BY_THREAD: dict[str, Any] = {"room": {"timeline": {"unread_thread_notifications": True}}}


async def marks_read(
    client: Client,
    room_id: str,
    event_id: str,
    receipt_type: str = "m.read",
    *,
    thread_id: str | None = None,
) -> None:
    body = {} if thread_id is None else {"thread_id": thread_id}
    path = f"rooms/{quoted(room_id)}/receipt/{quoted(receipt_type, event_id)}"
    assert await client.post(path, body) == {}


async def replies_in_thread(
    client: Client, room_id: str, root: str, content: str | dict[str, Any]
) -> str:
    if isinstance(content, str):
        content = {"msgtype": "m.text", "body": content}
    relation = {"rel_type": "m.thread", "event_id": root}
    return await client.sends(room_id, {**content, "m.relates_to": relation})


@contextlib.asynccontextmanager
async def waiting_sync(
    server: RunningServer, client: Client, since: str
) -> AsyncIterator["asyncio.Task[Any]"]:
    """Have a client wait in /sync during the block, which begins when it really waits."""
    notifier = server.base.notifier
    is_waiting = asyncio.Event()
    begin_waiting = notifier.begin_waiting

    def begin(*arguments: Any) -> Any:
        is_waiting.set()
        return begin_waiting(*arguments)

    notifier.begin_waiting = begin  # type: ignore[method-assign]
    task = asyncio.create_task(client.syncs(since, timeout=20_000))
    try:
        await is_waiting.wait()
        yield task
    finally:
        notifier.begin_waiting = begin_waiting  # type: ignore[method-assign]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def receipts_in(answer: Any, room_id: str) -> dict[tuple[str, str, str | None], str]:
    """Return the events of the receipts in an answer of /sync, by user, type and thread."""
    told = {}
    for event in _room(answer, room_id).get("ephemeral", {}).get("events", ()):
        if event["type"] != "m.receipt":
            continue
        for event_id, by_type in event["content"].items():
            for receipt_type, by_user in by_type.items():
                for user_id, metadata in by_user.items():
                    told[(user_id, receipt_type, metadata.get("thread_id"))] = event_id
    return told


def unread_in(answer: Any, room_id: str) -> dict[str, tuple[int, int]]:
    """Return (notifications, highlights) of the room, as "main", and of its threads."""
    room = _room(answer, room_id)
    counts = {"main": room["unread_notifications"], **room.get("unread_thread_notifications", {})}
    return {
        part: (count["notification_count"], count["highlight_count"])
        for part, count in counts.items()
    }


def _room(answer: Any, room_id: str) -> Any:
    return answer.get("rooms", {}).get("join", {}).get(room_id, {})
