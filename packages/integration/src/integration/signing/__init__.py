"""Recipes by which venues want requests signed: one module per venue, all pure."""
