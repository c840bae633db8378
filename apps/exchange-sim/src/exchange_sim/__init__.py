"""A local exchange on loopback: WebSocket feeds and REST snapshots."""
