"""Parsers of one protocol each, and the shells of those netcore does not drive."""
