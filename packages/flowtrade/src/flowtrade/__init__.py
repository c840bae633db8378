"""Clears markets: flow trading by certified batch auctions."""
