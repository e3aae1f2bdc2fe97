"""`homeserver notice` and `homeserver reports` against a running server."""

import asyncio
import json

import pytest

from homeserver.config.sections.registration import RegistrationSection
from homeserver.config.values import Secret
from homeserver.run.cli import main
from tests.support.client import clients_of, quoted
from tests.support.server import SERVER_NAME, server_of

SECRET = "north by north west"


@pytest.fixture
async def server(database_dsn, tmp_path):
    registration = RegistrationSection(without_verification=True, shared_secret=Secret(SECRET))
    async with server_of(database_dsn, tmp_path, registration=registration) as running:
        yield running


@pytest.fixture
async def clients(server):
    async with clients_of(server.url) as maker:
        yield maker


@pytest.fixture
def run(server, tmp_path, capsys):
    """Runs a command beside the server and returns exit code and output."""
    config = tmp_path / "homeserver.yaml"
    settings = {"server": {"name": SERVER_NAME}, "registration": {"shared_secret": SECRET}}
    config.write_text(json.dumps(settings))

    async def command(*arguments):
        capsys.readouterr()
        whole = [*arguments, "--config", str(config), "--url", server.url]
        code = await asyncio.to_thread(main, whole)
        out, err = capsys.readouterr()
        return code, f"{out}{err}"

    return command


async def test_a_notice_goes_to_users_and_to_all(run, alice, bob):
    code, said = await run("notice", "--to", alice.user_id, "Maintenance tonight")
    assert (code, said.splitlines()[-1]) == (0, "on its way to 1 users")
    code, said = await run("notice", "--all", "Maintenance is over")
    assert (code, said.splitlines()[-1]) == (0, "on its way to 2 users")


async def test_a_notice_to_nobody_is_explained(run, alice):
    code, said = await run("notice", "--to", f"@nobody:{SERVER_NAME}", "hello")
    assert code == 1
    assert "M_NOT_FOUND" in said


async def test_reports_are_shown_until_they_are_closed(run, alice, bob):
    room = await alice.creates_room()
    await bob.post(f"rooms/{quoted(room)}/report", {"reason": "spam\n\x1b[31m99 fake line"})
    code, said = await run("reports", "list")
    (line,) = [each for each in said.splitlines() if room in each]
    assert code == 0
    assert bob.user_id in line
    assert "\x1b" not in line
    number = line.split()[0]
    code, said = await run("reports", "close", number)
    assert (code, said.splitlines()[-1]) == (0, f"closed: {number}")
    code, said = await run("reports", "list")
    assert (code, room in said) == (0, False)
    code, said = await run("reports", "list", "--all")
    assert "(closed)" in said
