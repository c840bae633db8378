"""Bidders that turn order books into demand curves."""
