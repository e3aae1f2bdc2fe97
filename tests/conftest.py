"""What every test may ask for: PostgreSQL, Redis, a clock."""

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from homeserver.storage.database import Database
from homeserver.telemetry.clock import SystemClock
from tests.support.clock import FakeClock
from tests.support.postgres import TestCluster, remove_cluster
from tests.support.redis import RedisServer

# How fast this machine is at the moment says nothing about the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# Where the run's PostgreSQL lives; the first process of a run sets it, workers inherit it.
_FOLDER_VARIABLE = "HOMESERVER_TEST_RUN_FOLDER"
_MADE_HERE = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    if _FOLDER_VARIABLE not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="homeserver-tests-"))
        folder.chmod(0o755)  # started as root, PostgreSQL runs as another user
        os.environ[_FOLDER_VARIABLE] = str(folder)
        config.stash[_MADE_HERE] = folder


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(_MADE_HERE, None)
    if folder is not None:
        del os.environ[_FOLDER_VARIABLE]
        remove_cluster(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestCluster]:
    """The PostgreSQL of the test run."""
    cluster = TestCluster(Path(os.environ[_FOLDER_VARIABLE]))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def template_database(postgres: TestCluster) -> str:
    """The name of a database that has all migrations."""
    return postgres.ensure_template()


@pytest.fixture
def empty_database_dsn(postgres: TestCluster) -> Iterator[str]:
    """The DSN of a new database without any table."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.fixture
def database_dsn(postgres: TestCluster, template_database: str) -> Iterator[str]:
    """The DSN of a new database with all tables."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres.create(name, template_database)
    postgres.drop(name)


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    """A new database with all tables, opened."""
    async with Database(database_dsn, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture(scope="session")
def _redis_of_worker() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def redis_server(_redis_of_worker: RedisServer) -> RedisServer:
    """A Redis that holds nothing yet; a test may stop and start it."""
    _redis_of_worker.start()
    _redis_of_worker.forget_all()
    return _redis_of_worker


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    return FakeClock()
