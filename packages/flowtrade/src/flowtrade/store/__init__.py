"""Stores: memory, SQLite and PostgreSQL behind one port and one conformance suite.

`open_store` picks one by URL. Import adapters from their modules.
"""

from flowtrade.store.open import open_store

__all__ = ["open_store"]
