"""Who may do what: bearer tokens become rights.

`jws` verifies signatures, `claims` reads what is signed, `tokens` puts both together
behind the port `Authorizer`, `form` is the authorizer of test applications.
"""

from flowtrade.auth.claims import Claims, Rights
from flowtrade.auth.form import FormAuthorizer
from flowtrade.auth.jws import SigningKey, verify
from flowtrade.auth.tokens import JwtAuthorizer, JwtPolicy, generate_jwt

__all__ = [
    "Claims",
    "FormAuthorizer",
    "JwtAuthorizer",
    "JwtPolicy",
    "Rights",
    "SigningKey",
    "generate_jwt",
    "verify",
]
