"""What users keep here for themselves, put together: account data, tags, push rules."""

from client_api.routes.account_data import AccountDataRoutes
from client_api.routes.push_rules import PushRuleRoutes
from client_api.routes.tags import TagRoutes
from homeserver.run.foundation import Foundation
from homeserver.services.account_data import AccountData
from homeserver.services.push_rules import PushRules
from homeserver.services.tags import Tags


def account_data_routes(base: Foundation) -> list[object]:
    """Put the operations on account data together."""
    push_rules = PushRules(base.database, base.log_writer)
    account_data = AccountData(base.database, base.log_writer, push_rules)
    return [
        AccountDataRoutes(account_data),
        TagRoutes(Tags(account_data)),
        PushRuleRoutes(push_rules),
    ]
