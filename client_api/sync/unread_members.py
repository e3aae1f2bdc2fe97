"""The unread counts of a room as members of its section.

Spec: client-server-api/#get_matrixclientv3sync
"""

from collections.abc import Mapping

from client_api.sync.encode import joined_object
from homeserver.protocol.identifiers import EventID
from homeserver.streams.read_states import Unread, UnreadCount


def unread_members(unread: Unread, thread_ids: Mapping[int, EventID] | None) -> list[bytes]:
    """Return the counts of the whole room, or, with the IDs of its threads, told apart by thread.

    A thread without any is left out: then a client knows that everything in it has been read.
    """
    if thread_ids is None:
        return [b'"unread_notifications":' + _counts(unread.total)]
    members = [b'"unread_notifications":' + _counts(unread.main)]
    if unread.threads:
        threads = {str(thread_ids[nid]): _counts(count) for nid, count in unread.threads.items()}
        members.append(b'"unread_thread_notifications":' + joined_object(threads))
    return members


def _counts(count: UnreadCount) -> bytes:
    return b'{"highlight_count":%d,"notification_count":%d}' % (
        count.highlights,
        count.notifications,
    )
