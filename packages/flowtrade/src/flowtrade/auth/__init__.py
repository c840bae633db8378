"""Who may do what: bearer tokens become rights.

`jws` verifies signatures, `keys` reads key sets, `claims` reads what is signed,
`tokens` puts them together behind the port `Authorizer`, `form` is the authorizer of
test applications.
"""

from flowtrade.auth.claims import Claims, Rights
from flowtrade.auth.form import FormAuthorizer
from flowtrade.auth.jws import SigningKey, verify
from flowtrade.auth.keys import FileKeys, KeySource, UrlKeys, key_source, read_keys
from flowtrade.auth.tokens import JwtAuthorizer, JwtPolicy, generate_jwt

__all__ = [
    "Claims",
    "FileKeys",
    "FormAuthorizer",
    "JwtAuthorizer",
    "JwtPolicy",
    "KeySource",
    "Rights",
    "SigningKey",
    "UrlKeys",
    "generate_jwt",
    "key_source",
    "read_keys",
    "verify",
]
