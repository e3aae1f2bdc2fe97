"""What /sync tells about encryption keys: whose devices have changed, and what one's own has left.

Spec: client-server-api/#e2e-extensions-to-sync
"""

from collections.abc import Mapping

from client_api.sync.encode import encode
from client_api.sync.request import SyncContext
from homeserver.services.device_lists import DeviceLists
from homeserver.streams.key_counts import KeyCounts


class DeviceListsStream:
    """The member `device_lists` of incremental answers."""

    def __init__(self, device_lists: DeviceLists) -> None:
        self._device_lists = device_lists

    async def sections(self, context: SyncContext) -> Mapping[str, bytes]:
        """Return users with other keys, and users whose devices need not be tracked any more."""
        if context.since is None:
            return {}
        changes = await self._device_lists.between(
            context.viewer.user_id, context.since, context.now
        )
        if not changes.changed and not changes.left:
            return {}
        lists = {"changed": sorted(changes.changed), "left": sorted(changes.left)}
        return {"device_lists": encode(lists)}

    async def always(self, context: SyncContext) -> Mapping[str, bytes]:
        """Nothing: device lists are only told when they change."""
        return {}


class KeyCountsStream:
    """How many one-time keys the device has left, and which fallback keys are unused."""

    def __init__(self, counts: KeyCounts) -> None:
        self._counts = counts

    async def sections(self, context: SyncContext) -> Mapping[str, bytes]:
        """Return the counts if they may have changed: a client that runs out of keys must know."""
        user_id, device_id = context.viewer.user_id, context.viewer.device_id
        if context.since is None or device_id is None:
            return {}
        if not self._counts.may_have_changed(user_id, device_id, context.since):
            return {}
        return await self.always(context)

    async def always(self, context: SyncContext) -> Mapping[str, bytes]:
        """Return the counts, which every answer has: some clients take them for nought if not."""
        device_id = context.viewer.device_id
        if device_id is None:
            return {}
        row = await self._counts.of_device(context.viewer.user_id, device_id)
        unused = encode(row.unused_fallback)
        return {
            "device_one_time_keys_count": encode(_with_signed(row.counts)),
            "device_unused_fallback_key_types": unused,
            # COMPAT(matrix-js-sdk): read where the other is not there.
            "org.matrix.msc2732.device_unused_fallback_key_types": unused,
        }


def _with_signed(counts: Mapping[str, int]) -> dict[str, int]:
    """Say zero of the algorithm that all clients use, not nothing."""
    return {"signed_curve25519": 0, **counts}
