"""Stores: memory, SQLite and PostgreSQL behind one port and one conformance suite.

`open_store` picks one by URL. Import adapters from their modules.

What happens when:

- **the process is killed**: whatever was acknowledged is there, whatever was not is
  there wholly or not at all. The next start goes on where the log ends.
- **the disk is full**, or writing fails otherwise: the group is refused with
  `StoreFailed`, nothing of it is kept, reads go on, `/health/ready` says so, and the
  next group that can be written is. A scheduled batch is logged as failed; the next
  grid point is tried.
- **the file cannot be written at the start**: `StoreFailed`, before a request is taken.
- **another process has the file**: likewise. On PostgreSQL several share it, see ADR
  44.
- **the connection to PostgreSQL is lost**: whether the last group happened is unknown,
  so the store ends with `StoreFailed`, and the service with it; the next start reads
  the truth.
- **the clock is set back**: timestamps go on from the last one, a nanosecond each,
  until the clock has caught up. **Set ahead**: they follow it, and no grid point that
  was passed over is made up for.
"""

from flowtrade.store.open import open_store

__all__ = ["open_store"]
