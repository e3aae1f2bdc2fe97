"""Sending a new Web Push pusher the token that activates it. Spec: MSC4174"""

from typing import Final

from homeserver.services.push.delivery import Delivery, Result
from homeserver.services.pushers import Activation
from homeserver.storage import pushers
from homeserver.storage.database import Database
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

_TASK: Final = "web push activation"


class WebPushActivation:
    """Sends tokens in the background: a push service may take its time."""

    def __init__(self, database: Database, delivery: Delivery, tasks: Tasks) -> None:
        self._database = database
        self._delivery = delivery
        self._tasks = tasks

    async def begin(self, activation: Activation) -> None:
        """Begin to send a token, once: a client that does not get it sets its pusher again."""
        self._tasks.spawn(_TASK, self._send(activation))

    async def _send(self, activation: Activation) -> None:
        async with self._database.connection("web_push_activation") as connection:
            pusher = await pushers.by_nid(connection, activation.pusher_nid)
        if pusher is None:
            return
        result = await self._delivery.send_ack_token(pusher, activation.ack_token)
        log.info("activation sent", pusher_nid=pusher.pusher_nid, outcome=result.value)
        if result is Result.GONE:
            async with self._database.connection("web_push_activation") as connection:
                await pushers.delete_by_nid(connection, activation.pusher_nid)
