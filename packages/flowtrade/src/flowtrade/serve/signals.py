"""Signals: the first asks for an orderly stop, the second for an immediate one."""

import signal

import trio

__all__ = ["stop_on_signals"]


async def stop_on_signals(
    shutdown: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Set `shutdown` at the first SIGTERM or SIGINT.

    Raises:
        KeyboardInterrupt: At the second one.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if shutdown.is_set():
                raise KeyboardInterrupt
            shutdown.set()
