"""Moves bytes: non-blocking streams, sans-I/O protocols and their drivers."""
