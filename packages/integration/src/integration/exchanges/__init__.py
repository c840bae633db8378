"""One package per venue, each with the same five names.

`channels`, `symbols`, `requests`, `messages`, `transform`; nothing is imported here,
so that one venue never costs the import of all.
"""
