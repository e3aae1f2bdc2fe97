"""Moderation, server notices and small things of accounts, put together."""

from client_api.routes.account_moderation import AccountModerationRoutes
from client_api.routes.openid import OpenIDRoutes
from client_api.routes.operator_commands import OperatorRoutes
from client_api.routes.reports import ReportRoutes
from client_api.routes.third_party_lookups import ThirdPartyRoutes
from client_api.routes.voip import VoipRoutes
from homeserver.ports import ThirdPartyNetworks
from homeserver.protocol.identifiers import ServerName
from homeserver.run.account_layer import AccountLayer
from homeserver.run.foundation import Foundation
from homeserver.run.room_layer import RoomLayer
from homeserver.services.account_data import AccountData
from homeserver.services.account_moderation import AccountModeration
from homeserver.services.openid_tokens import OpenIDTokens
from homeserver.services.operator_commands import OperatorCommands
from homeserver.services.push_rules import PushRules
from homeserver.services.reports import Reports
from homeserver.services.server_notices import ServerNotices
from homeserver.services.shared_secret_proof import SharedSecretProof
from homeserver.services.tags import Tags
from homeserver.services.third_party_networks import NoThirdPartyNetworks, ThirdPartyLookups
from homeserver.services.turn import Turn

# Behind the node that queued them: how late the notices of one that died can be.
_NOTICES_SECONDS = 15.0


def moderation_routes(
    base: Foundation,
    accounts: AccountLayer,
    rooms: RoomLayer,
    *,
    networks: ThirdPartyNetworks | None = None,
) -> list[object]:
    """Put the operations together; without `networks` third-party lookups find nothing."""
    config, database, clock = base.config, base.database, base.clock
    server_name = ServerName(config.server.name)
    reports = Reports(database, rooms.access, clock, base.metrics)
    notices = server_notices(base, rooms)
    base.tasks.every("server notices", _NOTICES_SECONDS, notices.deliver)
    proof = SharedSecretProof(config.registration.shared_secret, clock)
    return [
        AccountModerationRoutes(AccountModeration(database, accounts.accounts, server_name)),
        OpenIDRoutes(OpenIDTokens(database, server_name, clock)),
        OperatorRoutes(OperatorCommands(proof, notices, reports)),
        ReportRoutes(reports),
        ThirdPartyRoutes(ThirdPartyLookups(networks or NoThirdPartyNetworks())),
        VoipRoutes(Turn(config.turn, clock)),
    ]


def server_notices(base: Foundation, rooms: RoomLayer) -> ServerNotices:
    """Put the notices of the server to its users together."""
    push_rules = PushRules(base.database, base.log_writer)
    tags = Tags(AccountData(base.database, base.log_writer, push_rules))
    return ServerNotices(
        base.config.server_notices,
        base.database,
        rooms.create,
        rooms.memberships,
        rooms.send,
        tags,
        base.tasks,
        base.clock,
        ServerName(base.config.server.name),
        room_version=base.config.rooms.default_version,
    )
