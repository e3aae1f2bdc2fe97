"""What is no pusher. Spec: client-server-api/#post_matrixclientv3pushersset"""

from tests.support.client import answer_of
from tests.support.push_gateway import NOTIFY, Browser

URL = f"https://push.example.org{NOTIFY}"
GOOD = {
    "kind": "http",
    "app_id": "org.example.app",
    "pushkey": "key",
    "app_display_name": "App",
    "device_display_name": "Phone",
    "lang": "en",
    "data": {"url": URL},
}
INVALID = (400, "M_INVALID_PARAM")
MISSING = (400, "M_MISSING_PARAM")
BAD_JSON = (400, "M_BAD_JSON")
BROWSER = Browser()
WEB = {
    **GOOD,
    "kind": "webpush",
    "pushkey": BROWSER.pushkey,
    "data": {"url": "https://127.0.0.1:1/abc", "auth": BROWSER.auth},
}


def without(name, body=GOOD):
    return {key: value for key, value in body.items() if key != name}


def at(url):
    return {**GOOD, "data": {"url": url}}


REFUSED = {
    "no app_id": (without("app_id"), MISSING),
    "no pushkey": (without("pushkey"), MISSING),
    "no kind": (without("kind"), MISSING),
    "no lang": (without("lang"), MISSING),
    "no app_display_name": (without("app_display_name"), MISSING),
    "no device_display_name": (without("device_display_name"), MISSING),
    "no data": (without("data"), MISSING),
    "kind of a wrong type": ({**GOOD, "kind": 1}, BAD_JSON),
    "unknown kind": ({**GOOD, "kind": "pigeon"}, INVALID),
    "data of a wrong type": ({**GOOD, "data": "x"}, BAD_JSON),
    "append of a wrong type": ({**GOOD, "append": "yes"}, BAD_JSON),
    "enabled of a wrong type": ({**GOOD, "org.matrix.msc3881.enabled": 1}, BAD_JSON),
    "empty pushkey": ({**GOOD, "pushkey": ""}, INVALID),
    "pushkey too long": ({**GOOD, "pushkey": "ä" * 257}, INVALID),
    "pushkey with NUL": ({**GOOD, "pushkey": "a\0b"}, INVALID),
    "empty app_id": ({**GOOD, "app_id": ""}, INVALID),
    "app_id too long": ({**GOOD, "app_id": "a" * 65}, INVALID),
    "name too long": ({**GOOD, "device_display_name": "a" * 256}, INVALID),
    "profile_tag too long": ({**GOOD, "profile_tag": "a" * 256}, INVALID),
    "data too large": ({**GOOD, "data": {"url": URL, "x": "a" * 9_000}}, INVALID),
    "no url": ({**GOOD, "data": {}}, MISSING),
    "url of a wrong type": (at(1), INVALID),
    "no https": (at(f"http://push.example.org{NOTIFY}"), INVALID),
    "no host": (at(f"https://{NOTIFY}"), INVALID),
    "another path": (at("https://push.example.org/notify"), INVALID),
    "longer path": (at(f"{URL}/more"), INVALID),
    "user in the url": (at(f"https://me:pw@push.example.org{NOTIFY}"), INVALID),
    "port that is none": (at(f"https://push.example.org:99999{NOTIFY}"), INVALID),
    "brackets that do not close": (at(f"https://[::1{NOTIFY}"), INVALID),
    "spaces": (at(f"https://push.example.org {NOTIFY}"), INVALID),
    "format of a wrong type": ({**GOOD, "data": {"url": URL, "format": 1}}, INVALID),
    "e-mail of a server without": (
        {**GOOD, "kind": "email", "app_id": "m.email", "pushkey": "a@example.org", "data": {}},
        INVALID,
    ),
    "web push without auth": ({**WEB, "data": without("auth", WEB["data"])}, MISSING),
    "web push without url": ({**WEB, "data": without("url", WEB["data"])}, MISSING),
    "short auth": ({**WEB, "data": {**WEB["data"], "auth": "AAAA"}}, INVALID),
    "auth that is no Base64": ({**WEB, "data": {**WEB["data"], "auth": "%" * 22}}, INVALID),
    "key that is no point": ({**WEB, "pushkey": "A" * 87}, INVALID),
    "key with padding": ({**WEB, "pushkey": f"{BROWSER.pushkey}="}, INVALID),
}


async def test_no_pusher_is_set(bob):
    answers = {
        case: await answer_of(bob.post("pushers/set", body)) for case, (body, _) in REFUSED.items()
    }
    assert answers == {case: refusal for case, (_, refusal) in REFUSED.items()}
    assert await bob.get("pushers") == {"pushers": []}


async def test_the_table_refuses_for_no_other_reason(bob):
    assert await answer_of(bob.post("pushers/set", GOOD)) == 200
    assert await answer_of(bob.post("pushers/set", WEB)) == (201, None)


async def test_nobody_and_guests_have_no_pushers(clients, guest):
    nobody = clients.nobody()
    assert await answer_of(nobody.get("pushers")) == (401, "M_MISSING_TOKEN")
    assert await answer_of(nobody.post("pushers/set", GOOD)) == (401, "M_MISSING_TOKEN")
    assert await answer_of(guest.post("pushers/set", GOOD)) == (403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_a_user_has_not_more_pushers_than_are_sensible(bob):
    for number in range(50):
        await bob.post("pushers/set", {**GOOD, "pushkey": str(number)})
    assert await answer_of(bob.post("pushers/set", {**GOOD, "pushkey": "x"})) == INVALID
    assert await answer_of(bob.post("pushers/set", {**GOOD, "pushkey": "7"})) == 200


NO_LISTS = [{"limit": 0}, {"limit": -1}, {"limit": "x"}, {"from": "x"}, {"from": f"n{'9' * 20}"}]


async def test_no_notifications_are_listed(bob):
    answers = [await answer_of(bob.get("notifications", **query)) for query in NO_LISTS]
    assert answers == [INVALID] * len(NO_LISTS)


async def test_notifications_are_for_users(clients, guest):
    assert await answer_of(clients.nobody().get("notifications")) == (401, "M_MISSING_TOKEN")
    assert await answer_of(guest.get("notifications")) == (403, "M_GUEST_ACCESS_FORBIDDEN")


UNKNOWN_TOKEN = (400, "M_UNKNOWN_ACTIVATION_TOKEN")
NOT_ACTIVATED = [
    ({}, MISSING),
    ({"app_id": "org.example.app"}, MISSING),
    ({"app_id": "org.example.app", "ack_token": 1}, BAD_JSON),
    ({"app_id": "org.example.app", "ack_token": "x" * 256}, INVALID),
    ({"app_id": "unknown", "ack_token": "x"}, (404, "M_NOT_FOUND")),
    ({"app_id": "org.example.app", "ack_token": "x"}, UNKNOWN_TOKEN),
]


async def test_no_web_push_is_activated(bob):
    await answer_of(bob.post("pushers/set", WEB))
    path = "/_matrix/client/unstable/org.matrix.msc4174/pushers/ack"
    answers = [await answer_of(bob.post(path, body)) for body, _ in NOT_ACTIVATED]
    assert answers == [refusal for _, refusal in NOT_ACTIVATED]
