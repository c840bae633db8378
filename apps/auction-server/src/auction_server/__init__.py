"""The auction service: API, schedule, store and feeds in one process."""
