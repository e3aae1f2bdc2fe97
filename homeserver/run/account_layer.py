"""Accounts, sessions and what proves who somebody is, put together."""

import msgspec

from client_api.routes.account import AccountRoutes
from client_api.routes.capabilities import CapabilitiesRoutes
from client_api.routes.devices import DeviceRoutes
from client_api.routes.fallback_pages import FallbackPageRoutes
from client_api.routes.login import LoginRoutes
from client_api.routes.logout import LogoutRoutes
from client_api.routes.profile import ProfileRoutes
from client_api.routes.refresh import RefreshRoutes
from client_api.routes.registration import RegistrationRoutes
from client_api.routes.shared_secret import SharedSecretRoutes
from client_api.routes.versions import VersionsRoutes
from client_api.routes.well_known import WellKnownRoutes
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.leave_all import LeaveAll
from homeserver.run.address_layer import (
    AddressLayer,
    address_layer,
    address_routes,
    third_party_ids_of,
)
from homeserver.run.foundation import Foundation
from homeserver.run.keys_layer import KeysLayer, keys_routes
from homeserver.run.room_layer import RoomLayer
from homeserver.run.single_sign_on_layer import (
    SingleSignOnLayer,
    single_sign_on_layer,
    single_sign_on_routes,
)
from homeserver.services.access_tokens import AccessTokens
from homeserver.services.account_changes import AccountChanges
from homeserver.services.account_making import AccountMaking
from homeserver.services.account_moderation import moderation_capability
from homeserver.services.accounts import Accounts
from homeserver.services.cross_signing import CrossSigningKeyIDs
from homeserver.services.deactivation import Deactivation
from homeserver.services.device_removal import DeviceRemoval
from homeserver.services.devices import Devices
from homeserver.services.discovery import (
    Capabilities,
    Discovery,
    fixed_capability,
    forced_encryption_features,
    room_versions_capability,
)
from homeserver.services.email_stage import EmailIdentityStage
from homeserver.services.expired_secrets import ExpiredSecrets
from homeserver.services.guests import Guests
from homeserver.services.jwt_login import JwtLogin
from homeserver.services.last_seen import LastSeen
from homeserver.services.login import Login, LoginMethod, PasswordLogin
from homeserver.services.login_page import LoginPage
from homeserver.services.login_token_requests import LoginTokenRequests
from homeserver.services.login_tokens import LoginTokens, TokenLogin
from homeserver.services.pages import Pages
from homeserver.services.password_change import PasswordChange
from homeserver.services.password_check import PasswordCheck
from homeserver.services.password_reset import PasswordReset
from homeserver.services.passwords import Passwords
from homeserver.services.profile_access import ProfileAccess
from homeserver.services.profiles import Profiles
from homeserver.services.push.web_push import VapidKey
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.recaptcha import RecaptchaStage
from homeserver.services.refresh_tokens import RefreshTokens
from homeserver.services.registration import Registration
from homeserver.services.registration_policy import RegistrationPolicy
from homeserver.services.registration_tokens import RegistrationTokens
from homeserver.services.sessions import Sessions
from homeserver.services.shared_secret import SharedSecretRegistration
from homeserver.services.single_sign_on.providers import SsoLogin, SsoStage
from homeserver.services.third_party_ids import AddressBook, ThirdPartyIds
from homeserver.services.token_cache import TokenCache
from homeserver.services.token_issue import TokenIssuer
from homeserver.services.uia import Uia
from homeserver.services.uia_pages import UiaPages
from homeserver.services.uia_stages import (
    DummyStage,
    PasswordStage,
    RegistrationTokenStage,
    Stage,
    TermsStage,
)
from homeserver.services.user_names import NothingReserved, UserNames
from homeserver.web.outgoing_http import OutgoingHttp
from homeserver.web.rate_limit import RateLimiter

# What clients may rely on before the version of the specification that has it.
UNSTABLE_FEATURES = {
    "org.matrix.e2e_cross_signing": True,
    "org.matrix.msc2285.stable": True,
    "org.matrix.msc3391": True,
    "org.matrix.msc3440.stable": True,
    "org.matrix.msc3771": True,
    # Dehydrated devices.
    "org.matrix.msc3814": True,
    "org.matrix.msc3827.stable": True,
    # Pushers that can be switched off.
    "org.matrix.msc3881": True,
    "org.matrix.msc3952_intentional_mentions": True,
    "org.matrix.msc3981": True,
    # Web Push.
    "org.matrix.msc4174": True,
    "org.matrix.msc4222": True,
    "org.matrix.msc4380": True,
    "org.matrix.msc4380.stable": True,
    "uk.half-shot.msc2666.query_mutual_rooms": True,
    "uk.half-shot.msc2666.query_mutual_rooms.stable": True,
    "uk.tcpip.msc4133": True,
    "uk.tcpip.msc4133.stable": True,
    "uk.timedout.msc4323": True,
}
# Devices that were seen, and secrets that have expired, are written and deleted in the background.
_LAST_SEEN_SECONDS = 20.0
_EXPIRY_SECONDS = 600.0


class AccountLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What the other layers and tests use of accounts."""

    accounts: Accounts
    access_tokens: AccessTokens
    changes: AccountChanges
    sessions: Sessions
    names: UserNames
    passwords: Passwords
    password_check: PasswordCheck
    registration_tokens: RegistrationTokens
    last_seen: LastSeen
    http: OutgoingHttp
    addresses: AddressLayer
    single_sign_on: SingleSignOnLayer


def account_layer(
    base: Foundation, rate_limiter: RateLimiter, signing_key: SigningKey
) -> AccountLayer:
    """Put together what does not need rooms."""
    config, database, clock = base.config, base.database, base.clock
    server_name = ServerName(config.server.name)
    cache = TokenCache()
    cache.follow(base.tail)
    changes = AccountChanges(cache, base.log_writer)
    issuer = TokenIssuer(config.sessions)
    last_seen = LastSeen(database, clock)
    passwords = Passwords(config.passwords)
    http = OutgoingHttp(config.outgoing_http)
    base.tasks.every("last seen", _LAST_SEEN_SECONDS, last_seen.write)
    expired = ExpiredSecrets(database, clock)
    base.tasks.every("expired secrets", _EXPIRY_SECONDS, expired.delete)
    return AccountLayer(
        accounts=Accounts(database, changes),
        access_tokens=AccessTokens(database, cache, changes, last_seen, clock),
        changes=changes,
        sessions=Sessions(database, issuer, changes, CrossSigningKeyIDs(database), clock),
        names=UserNames(server_name, database, NothingReserved()),
        passwords=passwords,
        password_check=PasswordCheck(
            server_name, database, passwords, AddressBook(database), rate_limiter
        ),
        registration_tokens=RegistrationTokens(database, clock),
        last_seen=last_seen,
        http=http,
        addresses=address_layer(base, rate_limiter, signing_key, http),
        single_sign_on=single_sign_on_layer(base),
    )


def account_routes(
    base: Foundation,
    accounts: AccountLayer,
    rooms: RoomLayer,
    keys: KeysLayer,
    profiles: Profiles,
    web_push_key: VapidKey,
) -> list[object]:
    """Return the objects whose endpoints are those of accounts."""
    config = base.config
    uia = Uia(base.database, _stages(base, accounts), base.clock)
    providers = accounts.single_sign_on.providers
    reauthentication = Reauthentication(uia, base.database, [each.id for each in providers])
    third_party_ids = third_party_ids_of(base, accounts.addresses, reauthentication)
    discovery = Discovery(config.discovery, base_url=_base_url(base))
    devices = Devices(base.database, accounts.changes, base.clock)
    login_tokens = LoginTokens(
        base.database, base.clock, lifetime_ms=config.sessions.login_token_lifetime_ms
    )
    token_requests = LoginTokenRequests(
        reauthentication, login_tokens, is_enabled=config.sessions.login_tokens_enabled
    )
    issuer = TokenIssuer(config.sessions)
    refresh = RefreshTokens(base.database, issuer, accounts.changes, base.clock)
    login = Login(_login_methods(base, accounts, login_tokens), accounts.sessions)
    registration = _registration(base, accounts, uia)
    access = ProfileAccess(base.database, config.profiles, ServerName(config.server.name))
    pages = Pages()
    uia_pages = UiaPages(uia, pages)
    single_sign_on, sso_confirmation = single_sign_on_routes(
        base, accounts.single_sign_on, accounts.names, accounts.changes, uia, uia_pages, pages
    )
    return [
        single_sign_on,
        *_own_account_routes(base, accounts, rooms, uia, reauthentication),
        *keys_routes(base, keys, reauthentication),
        *address_routes(accounts.addresses, third_party_ids, registration, pages),
        RegistrationRoutes(registration, accounts.registration_tokens),
        SharedSecretRoutes(_shared_secret(base, accounts)),
        LoginRoutes(login, token_requests, discovery),
        LogoutRoutes(devices),
        RefreshRoutes(refresh),
        DeviceRoutes(devices, DeviceRemoval(reauthentication, devices)),
        FallbackPageRoutes(uia_pages, sso_confirmation, LoginPage(pages)),
        VersionsRoutes({**UNSTABLE_FEATURES, **forced_encryption_features(config.rooms)}),
        WellKnownRoutes(discovery),
        ProfileRoutes(profiles, access),
        CapabilitiesRoutes(
            _capabilities(
                base, reauthentication, third_party_ids, token_requests, access, web_push_key
            )
        ),
    ]


def _own_account_routes(
    base: Foundation,
    accounts: AccountLayer,
    rooms: RoomLayer,
    uia: Uia,
    reauthentication: Reauthentication,
) -> list[object]:
    password_change = PasswordChange(
        reauthentication, accounts.passwords, base.database, accounts.changes
    )
    deactivation = Deactivation(
        reauthentication,
        LeaveAll(base.database, rooms.memberships),
        accounts.addresses.bindings,
        base.database,
        accounts.changes,
        base.tasks,
        base.clock,
    )
    base.tasks.every("unfinished deactivations", _EXPIRY_SECONDS, deactivation.finish)
    password_reset = PasswordReset(
        uia,
        accounts.addresses.validations,
        accounts.passwords,
        base.database,
        accounts.changes,
    )
    return [AccountRoutes(password_change, password_reset, deactivation)]


def _base_url(base: Foundation) -> str | None:
    """Return where clients reach this server; None where it can only be guessed."""
    config = base.config
    has_fixed_ports = all(listener.port != 0 for listener in config.listeners)
    is_known = config.server.public_base_url is not None or (
        config.is_local_only and has_fixed_ports
    )
    return config.public_base_url if is_known else None


def _stages(base: Foundation, accounts: AccountLayer) -> list[Stage]:
    registration = base.config.registration
    stages: list[Stage] = [
        DummyStage(),
        PasswordStage(accounts.password_check),
        RegistrationTokenStage(accounts.registration_tokens),
        EmailIdentityStage(accounts.addresses.validations),
    ]
    if len(accounts.single_sign_on.providers):
        stages.append(SsoStage())
    if registration.terms:
        stages.append(TermsStage(registration.terms))
    if registration.captcha.site_key is not None:
        stages.append(RecaptchaStage(registration.captcha, accounts.http))
    return stages


def _login_methods(
    base: Foundation, accounts: AccountLayer, login_tokens: LoginTokens
) -> list[LoginMethod]:
    config = base.config
    methods: list[LoginMethod] = []
    if config.passwords.login_enabled:
        methods.append(PasswordLogin(accounts.password_check))
    if len(accounts.single_sign_on.providers):
        methods.append(SsoLogin(accounts.single_sign_on.providers))
    methods.append(TokenLogin(login_tokens, is_given_to_users=config.sessions.login_tokens_enabled))
    if config.jwt.enabled:
        methods.append(JwtLogin(config.jwt, accounts.names, accounts.accounts, base.clock))
    return methods


def _registration(base: Foundation, accounts: AccountLayer, uia: Uia) -> Registration:
    config = base.config
    policy = RegistrationPolicy(
        config.registration,
        is_open=config.registers_without_verification,
        verifies_email=accounts.addresses.mail.is_configured,
    )
    guests = Guests(accounts.names, accounts.accounts, accounts.sessions, base.database, base.clock)
    making = AccountMaking(base.database, guests, accounts.changes, base.clock)
    return Registration(
        policy, uia, accounts.names, guests, accounts.passwords, making, accounts.sessions
    )


def _shared_secret(base: Foundation, accounts: AccountLayer) -> SharedSecretRegistration:
    return SharedSecretRegistration(
        base.config.registration.shared_secret,
        accounts.names,
        accounts.accounts,
        accounts.passwords,
        accounts.sessions,
        base.clock,
    )


def _capabilities(
    base: Foundation,
    reauthentication: Reauthentication,
    third_party_ids: ThirdPartyIds,
    token_requests: LoginTokenRequests,
    profile_access: ProfileAccess,
    web_push_key: VapidKey,
) -> Capabilities:
    return Capabilities(
        {
            "m.change_password": reauthentication.change_password_capability,
            "m.room_versions": room_versions_capability(base.config.rooms.default_version),
            "m.3pid_changes": third_party_ids.changes_capability,
            "m.get_login_token": token_requests.capability,
            "m.forget_forced_upon_leave": fixed_capability(
                {"enabled": base.config.rooms.forget_on_leave}
            ),
            "m.account_moderation": moderation_capability,
            "uk.timedout.msc4323": moderation_capability,
            "io.element.msc4452.preview_url": fixed_capability(
                {"enabled": base.config.url_previews.enabled}
            ),
            "org.matrix.msc4174.webpush": fixed_capability(
                {"enabled": True, "vapid": web_push_key.public_key}
            ),
            **profile_access.capabilities(),
        }
    )
