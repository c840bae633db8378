"""Verify a signed token with a JSON Web Key: the function the server uses."""

from flowtrade.auth import verify

__all__ = ["verify"]
