"""Section `signing`."""

from pathlib import Path
from typing import Annotated

from homeserver.config.values import Section, about


class OldVerifyKey(Section, frozen=True, kw_only=True):
    """A key that this server signed with before. Spec: server-server-api/#publishing-keys"""

    key_id: Annotated[str, about("Such as ed25519:a_AbCd.", pattern="^ed25519:[a-zA-Z0-9_]+$")]
    key: Annotated[str, about("The public key in unpadded Base64.")]
    expired_ts: Annotated[int, about("When it was last used, in milliseconds since 1970.", ge=0)]


class SigningSection(Section, frozen=True, kw_only=True):
    """The key that proves to other servers that events come from here."""

    key_path: Annotated[
        Path | None,
        about(
            "File with the key, in the format of signedjson. When absent, signing.key in the"
            " data folder. The file is made, readable by its owner only, if it does not exist."
        ),
    ] = None
    old_verify_keys: Annotated[
        tuple[OldVerifyKey, ...],
        about("Keys used before; each has key_id, key (public) and expired_ts."),
    ] = ()
    validity_days: Annotated[
        float,
        about(
            "For how long other servers may use the key before they ask again. Longer bridges"
            " outages; a stolen key can be used for longer.",
            ge=0.1,
            le=7,
        ),
    ] = 1.0
