"""Streams of messages: parse, transform, reconnect, pass on under load."""
