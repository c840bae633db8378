"""Typed requests over HTTP: prepared, signed, limited, sent, parsed, measured."""
