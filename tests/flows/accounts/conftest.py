"""A node that serves accounts, by default one where anybody may register."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.support.account_node import AccountNode, account_config, running_account_node
from tests.support.clock import FakeClock
from tests.support.mail import Mailbox, mail_server

# Starts a node whose configuration has other sections.
NodeMaker: TypeAlias = Callable[..., AbstractAsyncContextManager[AccountNode]]


@pytest.fixture
def node_with(database_dsn: str, tmp_path: Path, clock: FakeClock) -> NodeMaker:
    def make(**sections: Any) -> AbstractAsyncContextManager[AccountNode]:
        return running_account_node(account_config(database_dsn, tmp_path, **sections), clock)

    return make


@pytest.fixture
async def node(node_with: NodeMaker) -> AsyncIterator[AccountNode]:
    async with node_with() as running:
        yield running


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mail server; a node uses it when it has `email=mailbox.section()`."""
    async with mail_server() as box:
        yield box
