"""The records of flow trading: what bidders send, what auctions answer.

Import each record from the module that owns it (`flowtrade.models.curve`,
`flowtrade.models.group`, ...). This package file stays empty on purpose, so that a
client that needs one record does not load the others.
"""
