"""Login through providers of identities: OpenID Connect and CAS.

Spec: client-server-api/#sso-client-loginauthentication
"""
