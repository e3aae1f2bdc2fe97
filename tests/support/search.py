"""Searching in tests, where the index follows the log a moment behind."""

import itertools
from typing import Any

from tests.support.client import Client

ATTEMPTS = 500
_LAST_WORDS = itertools.count()


async def search(
    client: Client, term: str, *, next_batch: str | None = None, **criteria: Any
) -> Any:
    """Return the results of the category."""
    body = {"search_categories": {"room_events": {"search_term": term, **criteria}}}
    answer = await client.post("search", body, next_batch=next_batch)
    return answer["search_categories"]["room_events"]


async def indexed(client: Client, room_id: str) -> None:
    """Wait until what has been written so far can be found; leaves a message in the room."""
    word = f"marker{next(_LAST_WORDS)}"
    await client.sends(room_id, word)
    for _ in range(ATTEMPTS):
        if (await search(client, word, order_by="recent"))["count"]:
            return
    raise AssertionError("the index does not follow")


def texts(results: Any) -> list[str]:
    """Return the texts of the results, in order."""
    contents = [result["result"]["content"] for result in results["results"]]
    return [next(c[k] for k in ("body", "name", "topic") if k in c) for c in contents]


async def finds(client: Client, term: str, **criteria: Any) -> list[str]:
    """Return the texts that are found, in order."""
    return texts(await search(client, term, **criteria))
