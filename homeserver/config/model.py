"""The whole configuration."""

from pathlib import Path
from typing import Annotated

from homeserver.config.sections.appservices import AppservicesSection
from homeserver.config.sections.cors import CorsSection
from homeserver.config.sections.database import DatabaseSection
from homeserver.config.sections.discovery import DiscoverySection
from homeserver.config.sections.federation import FederationSection
from homeserver.config.sections.jwt import JwtSection
from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.logs import LoggingSection
from homeserver.config.sections.mail import EmailSection
from homeserver.config.sections.media import MediaSection
from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.config.sections.passwords import PasswordsSection
from homeserver.config.sections.presence import PresenceSection
from homeserver.config.sections.profiles import ProfilesSection
from homeserver.config.sections.push import PushSection
from homeserver.config.sections.rate_limits import RateLimitsSection
from homeserver.config.sections.redis import RedisSection
from homeserver.config.sections.registration import RegistrationSection
from homeserver.config.sections.room_directory import RoomDirectorySection
from homeserver.config.sections.rooms import RoomsSection
from homeserver.config.sections.server import ServerSection
from homeserver.config.sections.server_notices import ServerNoticesSection
from homeserver.config.sections.sessions import SessionsSection
from homeserver.config.sections.signing import SigningSection
from homeserver.config.sections.single_sign_on import SingleSignOnSection
from homeserver.config.sections.third_party_ids import ThirdPartyIdsSection
from homeserver.config.sections.thumbnails import ThumbnailsSection
from homeserver.config.sections.to_device import ToDeviceSection
from homeserver.config.sections.tracing import TracingSection
from homeserver.config.sections.turn import TurnSection
from homeserver.config.sections.url_previews import UrlPreviewsSection
from homeserver.config.sections.user_directory import UserDirectorySection
from homeserver.config.values import Section, about


class Config(Section, frozen=True, kw_only=True):
    """Everything in homeserver.yaml; `Config()` is a local server to try things out."""

    server: ServerSection = ServerSection()
    listeners: Annotated[
        tuple[Listener, ...], about("Where the server answers HTTP; any number of addresses.")
    ] = (Listener(),)
    discovery: DiscoverySection = DiscoverySection()
    signing: SigningSection = SigningSection()
    database: DatabaseSection = DatabaseSection()
    redis: RedisSection = RedisSection()
    registration: RegistrationSection = RegistrationSection()
    passwords: PasswordsSection = PasswordsSection()
    sessions: SessionsSection = SessionsSection()
    jwt: JwtSection = JwtSection()
    single_sign_on: SingleSignOnSection = SingleSignOnSection()
    rooms: RoomsSection = RoomsSection()
    room_directory: RoomDirectorySection = RoomDirectorySection()
    user_directory: UserDirectorySection = UserDirectorySection()
    profiles: ProfilesSection = ProfilesSection()
    presence: PresenceSection = PresenceSection()
    to_device: ToDeviceSection = ToDeviceSection()
    push: PushSection = PushSection()
    rate_limits: RateLimitsSection = RateLimitsSection()
    server_notices: ServerNoticesSection = ServerNoticesSection()
    turn: TurnSection = TurnSection()
    media: MediaSection = MediaSection()
    thumbnails: ThumbnailsSection = ThumbnailsSection()
    url_previews: UrlPreviewsSection = UrlPreviewsSection()
    federation: FederationSection = FederationSection()
    outgoing_http: OutgoingHttpSection = OutgoingHttpSection()
    appservices: AppservicesSection = AppservicesSection()
    email: EmailSection = EmailSection()
    third_party_ids: ThirdPartyIdsSection = ThirdPartyIdsSection()
    cors: CorsSection = CorsSection()
    logging: LoggingSection = LoggingSection()
    tracing: TracingSection = TracingSection()

    @property
    def signing_key_path(self) -> Path:
        """Where the signing key is, set or not."""
        return self.signing.key_path or self.server.data_dir / "signing.key"

    @property
    def web_push_key_path(self) -> Path:
        """Where the secret of Web Push is, set or not."""
        return self.push.web_push_key_path or self.server.data_dir / "web_push.key"

    @property
    def media_path(self) -> Path:
        """Where media is kept, set or not."""
        return self.media.path or self.server.data_dir / "media"

    @property
    def embedded_database_path(self) -> Path:
        """Where the embedded PostgreSQL lives when `database.dsn` is absent."""
        return self.server.data_dir / "postgres"

    @property
    def public_base_url(self) -> str:
        """Where clients reach this server, set or guessed; ends with a slash."""
        if self.server.public_base_url is not None:
            return self.server.public_base_url.rstrip("/") + "/"
        for listener in self.listeners:
            if "client" in listener.serves and listener.unix_socket is None:
                return f"{listener.base_url}/"
        return f"https://{self.server.name}/"

    @property
    def is_local_only(self) -> bool:
        """Whether, as far as can be told, only this machine reaches the server."""
        return self.server.public_base_url is None and all(
            listener.is_loopback for listener in self.listeners
        )

    @property
    def registers_without_verification(self) -> bool:
        """Whether an account needs nothing but a name and a password (`m.login.dummy`)."""
        if not self.registration.enabled:
            return False
        if self.registration.without_verification is not None:
            return self.registration.without_verification
        return self.is_local_only
