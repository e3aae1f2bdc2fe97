"""Run a coroutine from a synchronous fixture, apart from the test's own event loop."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run in a thread of its own, and so in a loop of its own, until it is done."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
