"""Market data: subscriptions planned, books kept in sequence, streams kept alive."""
