"""What operators ask a node."""

import asyncio

from homeserver.run.health import HealthRoutes
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.shutdown import Shutdown


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def never() -> bool:
    await asyncio.Event().wait()
    return True


def health(**checks: object) -> HealthRoutes:
    return HealthRoutes(Metrics(), checks, Shutdown())  # type: ignore[arg-type]


async def test_a_process_that_answers_is_alive() -> None:
    assert (await health(database=no).get_health()).status == "ok"


async def test_a_node_is_ready_when_every_check_passes() -> None:
    answer = await health(database=yes, migrations=yes).get_ready()
    assert answer.status == 200
    assert answer.body == (
        b'{"ready":true,"checks":{"database":true,"migrations":true,"running":true}}'
    )


async def test_a_node_tells_what_is_missing() -> None:
    answer = await health(database=yes, migrations=no).get_ready()
    assert answer.status == 503
    assert b'"migrations":false' in answer.body


async def test_a_node_that_stops_is_not_ready() -> None:
    shutdown = Shutdown()
    shutdown.begin()
    answer = await HealthRoutes(Metrics(), {}, shutdown).get_ready()
    assert answer.status == 503


async def test_a_check_that_takes_too_long_has_failed() -> None:
    routes = HealthRoutes(Metrics(), {"database": never}, Shutdown(), check_seconds=0.01)
    answer = await routes.get_ready()
    assert answer.status == 503


async def test_metrics_are_in_the_text_format_of_prometheus() -> None:
    answer = await health().get_metrics()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"# HELP homeserver_requests_in_flight" in answer.body
