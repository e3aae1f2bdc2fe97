"""Login through providers of identities, put together."""

from typing import Final

import msgspec

from client_api.routes.single_sign_on import SingleSignOnRoutes
from homeserver.run.foundation import Foundation
from homeserver.services.account_changes import AccountChanges
from homeserver.services.login_tokens import LoginTokens
from homeserver.services.pages import Pages
from homeserver.services.single_sign_on.cas import CentralAuthentication
from homeserver.services.single_sign_on.client_urls import ClientUrls
from homeserver.services.single_sign_on.confirmation import SsoConfirmation
from homeserver.services.single_sign_on.external_accounts import ExternalAccounts
from homeserver.services.single_sign_on.flows import SignInFlows
from homeserver.services.single_sign_on.oidc import OpenIdConnect
from homeserver.services.single_sign_on.provider import IdentityProvider
from homeserver.services.single_sign_on.providers import Providers
from homeserver.services.single_sign_on.sign_in import SignIn
from homeserver.services.single_sign_on.sign_in_pages import SignInPages
from homeserver.services.single_sign_on.visits import Visits
from homeserver.services.uia import Uia
from homeserver.services.uia_pages import UiaPages
from homeserver.services.user_names import UserNames
from homeserver.web.outgoing_http import OutgoingHttp

_CALLBACK: Final = "_matrix/client/unstable/org.homeserver/single_sign_on/callback"
_LOGIN_PAGE: Final = "_matrix/static/client/login"


class SingleSignOnLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What the routes of accounts and tests use of single sign-on."""

    providers: Providers
    http: OutgoingHttp


def single_sign_on_layer(base: Foundation) -> SingleSignOnLayer:
    """Put together the providers, which need nothing else."""
    config, section = base.config, base.config.single_sign_on
    allowed = (*config.outgoing_http.allowed_ip_ranges, *section.allowed_ip_ranges)
    http = OutgoingHttp(msgspec.structs.replace(config.outgoing_http, allowed_ip_ranges=allowed))
    callback_url = config.public_base_url + _CALLBACK
    known: list[IdentityProvider] = [
        OpenIdConnect(each, http, base.clock, callback_url=callback_url)
        for each in section.oidc_providers
    ]
    known += [
        CentralAuthentication(each, http, callback_url=callback_url)
        for each in section.cas_providers
    ]
    return SingleSignOnLayer(providers=Providers(known), http=http)


def single_sign_on_routes(
    base: Foundation,
    layer: SingleSignOnLayer,
    names: UserNames,
    changes: AccountChanges,
    uia: Uia,
    uia_pages: UiaPages,
    pages: Pages,
) -> tuple[SingleSignOnRoutes, SsoConfirmation]:
    """Return the object whose endpoints are those of single sign-on, and the page of its stage."""
    config, section = base.config, base.config.single_sign_on
    base_url = config.public_base_url
    flows = SignInFlows(
        base.database,
        base.clock,
        lifetime_ms=section.flow_lifetime_ms,
        is_https=base_url.startswith("https:"),
    )
    visits = Visits(layer.providers, flows)
    sign_in_pages = SignInPages(pages, flows, config.server.name)
    policies = config.registration.terms
    accounts = ExternalAccounts(names, base.database, changes, base.clock, policies)
    confirmation = SsoConfirmation(
        layer.providers, flows, visits, accounts, base.database, uia, uia_pages, sign_in_pages
    )
    sign_in = SignIn(
        layer.providers,
        flows,
        visits,
        ClientUrls((*section.trusted_client_urls, base_url + _LOGIN_PAGE)),
        accounts,
        LoginTokens(base.database, base.clock, lifetime_ms=section.login_token_lifetime_ms),
        sign_in_pages,
        confirmation,
    )
    return SingleSignOnRoutes(sign_in), confirmation
