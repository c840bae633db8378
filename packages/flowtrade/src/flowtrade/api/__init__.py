"""The HTTP API: a Litestar application over the use cases.

`app` puts it together, `routes` is the table of all endpoints, `handlers` answer
them, `problems` is the one place where errors become statuses, `events` streams, and
`openapi` describes. No rule of the market lives here.
"""

from flowtrade.api.app import create_app

__all__ = ["create_app"]
