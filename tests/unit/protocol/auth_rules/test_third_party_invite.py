import nacl.signing
import pytest

from homeserver.protocol.auth_rules.third_party_invite import MAX_VERIFICATIONS
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import sign_json, signing_key_from_seed
from homeserver.protocol.unpadded_base64 import encode_base64, encode_urlsafe_base64

ALL = [str(number) for number in range(1, 13)]
ALICE, BOB, CAROL = "@alice:one", "@bob:two", "@carol:one"
KEY = signing_key_from_seed("0", b"k" * 32)
OTHER_KEY = signing_key_from_seed("0", b"o" * 32)
SIGNED = {"mxid": BOB, "token": "abc"}


def sign(signed=None, key=KEY):
    return sign_json(SIGNED if signed is None else signed, ServerName("identity"), key)


@pytest.fixture(params=ALL)
def room(request, make_room):
    """A room of every version where Alice has sent a third-party invite with the token abc."""
    room = make_room(request.param)
    invited(room, public_key=KEY.verify_key)
    return room


def invited(room, **content):
    return room.put("m.room.third_party_invite", content, state_key="abc")


def answer(room, signed, *, by=ALICE, target=BOB):
    return room.member(target, "invite", by=by, third_party_invite={"signed": signed})


def test_a_signed_answer_is_accepted(room):
    assert room.refusal(answer(room, sign())) is None


@pytest.mark.parametrize("membership", ["join", "invite", "leave", "knock"])
def test_the_current_membership_does_not_matter_unless_it_is_a_ban(room, membership):
    room.has(BOB, membership)
    assert room.refusal(answer(room, sign())) is None


def test_the_banned_are_not_invited(room):
    room.has(BOB, "ban")
    assert room.refusal(answer(room, sign())) == "member.invite.third_party.banned"


def test_the_sender_of_the_invite_needs_no_right_any_more(room):
    room.has(ALICE, "leave")
    room.levels(invite=100)
    assert room.refusal(answer(room, sign())) is None


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"signed": None}, {"signed": []}])
def test_an_answer_must_have_a_signed_object(room, value):
    event = room.member(BOB, "invite", by=ALICE, third_party_invite=value)
    assert room.refusal(event) == "member.invite.third_party.signed"


@pytest.mark.parametrize("signed", [{}, {"mxid": BOB}, {"token": "abc"}, {"mxid": BOB, "token": 1}])
def test_signed_must_have_mxid_and_token(room, signed):
    event = answer(room, sign(signed))
    assert room.refusal(event) == "member.invite.third_party.mxid_and_token"


@pytest.mark.parametrize("mxid", [CAROL, "", None, [BOB]])
def test_signed_must_be_for_the_target(room, mxid):
    event = answer(room, sign({"mxid": mxid, "token": "abc"}))
    assert room.refusal(event) == "member.invite.third_party.mxid"


def test_the_token_must_be_that_of_an_invite(room):
    event = answer(room, sign({"mxid": BOB, "token": "abcd"}))
    assert room.refusal(event) == "member.invite.third_party.token"


def test_only_the_sender_of_the_invite_can_let_in(room):
    room.has(CAROL, "join")
    event = answer(room, sign(), by=CAROL)
    assert room.refusal(event) == "member.invite.third_party.sender"


def refused(room, signed):
    return room.refusal(answer(room, signed)) == "member.invite.third_party.signature"


def test_the_signature_of_another_key_is_refused(room):
    assert refused(room, sign(key=OTHER_KEY))


def test_a_signature_of_something_else_is_refused(room):
    assert refused(room, {**SIGNED, "signatures": sign({"mxid": BOB})["signatures"]})
    assert refused(room, {**sign(), "more": 1})


def test_unsigned_is_not_signed(room):
    assert room.refusal(answer(room, {**sign(), "unsigned": {"age": 1}})) is None


def signatures_of(*values, key_id="ed25519:0"):
    return {f"server{number}": {key_id: value} for number, value in enumerate(values)}


GOOD = next(iter(sign()["signatures"].values()))["ed25519:0"]


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {},
        {"identity": None},
        {"identity": {}},
        {"identity": {"ed25519:0": None}},
        {"identity": {"ed25519:0": "not base64!"}},
        {"identity": {"ed25519:0": GOOD[:-4]}},
        {"identity": {"ed25519:0": "é" + GOOD}},
        signatures_of(GOOD, key_id="ed25518:0"),
        signatures_of(GOOD, key_id="curve25519:0"),
    ],
)
def test_malformed_signatures_are_refused(room, signatures):
    assert refused(room, {**SIGNED, "signatures": signatures})


def test_any_of_many_signatures_will_do(room):
    signatures = signatures_of("bad", encode_base64(bytes(64)), GOOD)
    assert room.refusal(answer(room, {**SIGNED, "signatures": signatures})) is None


def test_a_signed_object_without_canonical_form_is_refused(room):
    assert refused(room, {**sign(), "x": float("nan")})


URLSAFE = encode_urlsafe_base64(bytes(nacl.signing.SigningKey(b"k" * 32).verify_key))


@pytest.mark.parametrize(
    "content",
    [
        {"public_key": URLSAFE},
        {"public_key": KEY.verify_key + "="},
        {"public_keys": [{"public_key": KEY.verify_key}]},
        {
            "public_key": OTHER_KEY.verify_key,
            "public_keys": [
                None,
                {},
                {"public_key": 1},
                {"public_key": "?"},
                {"public_key": KEY.verify_key},
            ],
        },
    ],
)
def test_any_key_of_the_invite_will_do(room, content):
    invited(room, **content)
    assert room.refusal(answer(room, sign())) is None


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"public_key": None, "public_keys": None},
        {"public_key": "", "public_keys": {}},
        {"public_key": OTHER_KEY.verify_key, "public_keys": [OTHER_KEY.verify_key]},
        {"public_keys": [KEY.verify_key]},
    ],
)
def test_an_invite_without_the_key_is_refused(room, content):
    invited(room, **content)
    assert refused(room, sign())


@pytest.mark.parametrize("room", ["11"], indirect=True)
@pytest.mark.parametrize(("excess", "is_refused"), [(0, False), (1, True)])
def test_only_so_many_pairs_of_signature_and_key_are_tried(room, excess, is_refused):
    # Two keys: the other one is tried with all signatures before the good one's turn comes.
    invited(room, public_key=OTHER_KEY.verify_key, public_keys=[{"public_key": KEY.verify_key}])
    tried_before = MAX_VERIFICATIONS // 2 - 1 + excess
    bad = (encode_base64(number.to_bytes(64, "big")) for number in range(tried_before))
    assert refused(room, {**SIGNED, "signatures": signatures_of(*bad, GOOD)}) == is_refused


@pytest.mark.parametrize("room", ["11"], indirect=True)
def test_repeated_signatures_and_keys_do_not_count(room):
    keys = [OTHER_KEY.verify_key] * MAX_VERIFICATIONS + [KEY.verify_key]
    invited(room, public_keys=[{"public_key": key} for key in keys])
    bad = [encode_base64(bytes(64))] * MAX_VERIFICATIONS
    assert not refused(room, {**SIGNED, "signatures": signatures_of(*bad, GOOD)})
