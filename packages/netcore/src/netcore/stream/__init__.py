"""Streams: one interface over sockets, TLS, files, recordings and memory."""
