"""Who makes a client request, as authentication found out."""

import msgspec

from homeserver.protocol.identifiers import DeviceID, UserID


class Requester(msgspec.Struct, frozen=True, kw_only=True):
    """The user, and the device and token, on whose behalf a client request is made.

    For an application service `user_id` is the user that it acts as, checked against its
    namespaces. Spec: application-service-api/#identity-assertion
    """

    user_id: UserID
    # None: an application service that acts without a device.
    device_id: DeviceID | None = None
    # Row number of the access token; None for the token of an application service.
    access_token_nid: int | None = None
    # The registration `id` of the application service that makes the request.
    appservice_id: str | None = None
    is_guest: bool = False
    is_admin: bool = False
    # Spec: client-server-api/#account-locking
    is_locked: bool = False
    # Spec: client-server-api/#account-suspension
    is_suspended: bool = False
    # False: rate limits do not apply, as for `rate_limited: false` application services.
    is_rate_limited: bool = True
