"""What other servers ask of keys. Spec: server-server-api/#end-to-end-encryption"""

import asyncio
import json

import msgspec
import pytest

from homeserver.errors import NotFound, RemoteError
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID
from homeserver.services.federated_keys import FederatedKeys
from homeserver.services.key_queries import KeyQueries
from homeserver.services.one_time_keys import OneTimeKeys
from homeserver.storage import remote_devices
from tests.support.key_uploads import CrossSigner, uploads_keys
from tests.support.olm import OlmDevice

OURS = ServerName("hs.example")
FAR = ServerName("far.example")
DAVE, EVE = UserID("@dave:far.example"), UserID("@eve:far.example")
PHONE = DeviceID("PHONE")
SIGNED = "signed_curve25519"


class FarServers:
    """Other servers, as the port to them shows them."""

    def __init__(self):
        self.answers = {}
        self.asked = []

    async def query(self, server, wanted):
        return await self._answer("query", server, wanted)

    async def claim(self, server, wanted):
        return await self._answer("claim", server, wanted)

    async def _answer(self, kind, server, wanted):
        self.asked.append((kind, server, {user_id: wanted[user_id] for user_id in wanted}))
        answer = self.answers.get(server)
        if answer is None:
            raise RemoteError(server, "it is down")
        if answer == "never":
            await asyncio.get_running_loop().create_future()
        return answer


@pytest.fixture
def far():
    return FarServers()


@pytest.fixture
def key_queries(server, far):
    return KeyQueries(server.base.database, far, server.parts.keys.remote_devices, OURS)


@pytest.fixture
def one_time_keys(server, far):
    return OneTimeKeys(server.base.log_writer, far, OURS)


@pytest.fixture
def federated(server, one_time_keys):
    return FederatedKeys(server.base.database, one_time_keys, OURS)


def as_sent(answer):
    return json.loads(msgspec.json.encode(answer))


async def test_a_server_gets_the_devices_of_a_user_with_the_version_of_the_list(federated, alice):
    device, signer = await uploads_keys(alice), CrossSigner(alice.user_id)
    await alice.post("keys/device_signing/upload", signer.keys)
    before = as_sent(await federated.devices(alice.user_id))
    assert before["devices"] == [{"device_id": alice.device_id, "keys": device.device_keys()}]
    assert before["self_signing_key"] == signer.self_signing_key
    assert "user_signing_key" not in json.dumps(before)
    await alice.put(f"devices/{alice.device_id}", {"display_name": "phone"})
    after = as_sent(await federated.devices(alice.user_id))
    assert after["stream_id"] > before["stream_id"]
    assert after["devices"][0]["device_display_name"] == "phone"
    with pytest.raises(NotFound):
        await federated.devices(UserID("@nobody:hs.example"))
    with pytest.raises(NotFound):
        await federated.devices(DAVE)


async def test_a_server_gets_keys_without_what_users_have_signed_of_each_other(
    federated, alice, bob
):
    device, signer = await uploads_keys(alice), CrossSigner(alice.user_id)
    other = CrossSigner(bob.user_id)
    await alice.post("keys/device_signing/upload", signer.keys)
    await bob.post("keys/device_signing/upload", other.keys)
    signed = other.signs_user(signer.master_key)
    await bob.post("keys/signatures/upload", {alice.user_id: {signer.public_key: signed}})
    wanted = {UserID(alice.user_id): [], DAVE: []}
    answer = as_sent(await federated.query(wanted))
    assert answer["device_keys"] == {alice.user_id: {alice.device_id: device.device_keys()}}
    assert answer["master_keys"][alice.user_id]["signatures"] == {alice.user_id: {}}
    assert answer["self_signing_keys"] == {alice.user_id: signer.self_signing_key}


async def test_a_server_claims_keys_of_users_here_only(federated, alice, far):
    await uploads_keys(alice, one_time=1)
    wanted = {UserID(alice.user_id): {DeviceID(alice.device_id): SIGNED}, DAVE: {PHONE: SIGNED}}
    given = as_sent(await federated.claim(wanted))["one_time_keys"]
    assert {user_id: list(of) for user_id, of in given.items()} == {
        alice.user_id: [alice.device_id]
    }
    assert far.asked == []


async def test_users_of_other_servers_are_asked_for_there(key_queries, far, alice):
    device, signer = OlmDevice(DAVE, PHONE), CrossSigner(DAVE)
    keys = {**device.device_keys(), "unsigned": {"device_display_name": "D", "x": 1}}
    foreign = OlmDevice(EVE, PHONE).device_keys()
    far.answers[FAR] = {
        "device_keys": {
            DAVE: {PHONE: keys, "OTHER": foreign, "BAD": 5},
            "@mallory:evil.example": {PHONE: foreign},
        },
        "master_keys": {DAVE: signer.master_key, EVE: signer.master_key},
        "self_signing_keys": {DAVE: {**signer.self_signing_key, "usage": ["master"]}},
        "user_signing_keys": {DAVE: signer.user_signing_key},
    }
    answer = json.loads(await key_queries.query(alice.user_id, {DAVE: [], EVE: []}, 1_000))
    name = {"unsigned": {"device_display_name": "D"}}
    assert answer == {
        "failures": {},
        "device_keys": {DAVE: {PHONE: {**device.device_keys(), **name}}},
        "master_keys": {DAVE: {**signer.master_key, "signatures": {}}},
        "self_signing_keys": {},
        "user_signing_keys": {},
    }
    assert far.asked == [("query", FAR, {DAVE: [], EVE: []})]


@pytest.mark.parametrize("answer", [None, "never"])
async def test_servers_without_an_answer_in_time_are_failures(
    key_queries, one_time_keys, far, alice, answer
):
    far.answers[FAR] = answer
    told = json.loads(await key_queries.query(alice.user_id, {DAVE: []}, 10))
    assert list(told["failures"]) == [FAR]
    claimed = await one_time_keys.claim({DAVE: {PHONE: SIGNED}}, 10)
    assert list(claimed["failures"]) == [FAR]
    assert claimed["one_time_keys"] == {}


async def test_keys_of_other_servers_are_claimed_there(one_time_keys, far):
    key = next(iter(OlmDevice(DAVE, PHONE).one_time_keys(1).values()))
    given = {f"{SIGNED}:A": key}
    far.answers[FAR] = {
        "one_time_keys": {DAVE: {PHONE: given, "OTHER": given}, EVE: {PHONE: {"x": 5}}}
    }
    answer = await one_time_keys.claim({DAVE: {PHONE: SIGNED}, EVE: {PHONE: SIGNED}}, 1_000)
    assert answer == {"one_time_keys": {DAVE: {PHONE: given}}, "failures": {}}


async def test_a_list_of_which_nothing_was_missed_needs_no_question(
    server, key_queries, far, alice
):
    device = OlmDevice(DAVE, PHONE)
    async with server.base.database.connection() as connection:
        await connection.execute(
            "INSERT INTO remote_device_lists (user_id, stream_id, is_stale)"
            " VALUES ($1, 5, false), ($2, 5, true)",
            DAVE,
            EVE,
        )
        await connection.execute(
            "INSERT INTO remote_devices (user_id, device_id, keys, display_name)"
            " VALUES ($1, $2, $3, 'D'), ($1, 'BARE', NULL, NULL)",
            DAVE,
            PHONE,
            json.dumps(device.device_keys()).encode(),
        )
        # Of who shares no room with anybody here nothing would be told.
        assert await remote_devices.fresh_lists(connection, OURS, [DAVE, EVE]) == {}
        await alice.creates_room()
        await connection.execute(
            "INSERT INTO memberships (user_id, room_nid, membership, pos, event_nid, sender)"
            " SELECT u, room_nid, membership, pos, event_nid, u"
            " FROM memberships, unnest($1::text[]) u",
            [DAVE, EVE],
        )
        assert set(await remote_devices.fresh_lists(connection, OURS, [DAVE, EVE])) == {DAVE}
    answer = json.loads(await key_queries.query(alice.user_id, {DAVE: [], EVE: []}, 1_000))
    name = {"unsigned": {"device_display_name": "D"}}
    assert answer["device_keys"] == {DAVE: {PHONE: {**device.device_keys(), **name}}}
    assert far.asked == [("query", FAR, {EVE: []})]
