"""The whole house in one command: exchange, auction, bidders and a live page."""
