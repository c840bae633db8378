"""The sending half of a FIX session: numbers, headers, what waits, what is resent.

It decides nothing: `netcore.fix.session` says what to send and when.

Header fields behind the first three come by ascending tag, so that equal messages
have equal bytes. What is resent is made only when it is asked for by `take`, so that a
counterparty that asks for a million messages does not fill our memory with them.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import final

from netcore.fix.codec import frame, join_fields
from netcore.fix.config import SessionConfig
from netcore.fix.errors import EncodeError
from netcore.fix.fields import (
    ENVELOPE,
    FieldValue,
    Message,
    Pair,
    as_pairs,
    split_fields,
    utc_timestamp,
)
from netcore.fix.store import Store
from netcore.models import Timestamp

__all__ = ["Outgoing"]


@final
class Outgoing:
    """Numbers and encodes messages and keeps them until they are taken.

    Args:
        config: The session's.
        store: The session's.
        may_resend: Whether an application message may be sent again; those that may
            not (stale orders) are gap-filled. None allows all.

    Attributes:
        processed: Returns the number of the counterparty's message that was processed
            last, for LastMsgSeqNumProcessed (369); None leaves that out.
        last_sent: When the last message was queued.
        queued_bytes: Bytes that wait, without what is to be resent.
    """

    __slots__ = (
        "_begin",
        "_config",
        "_extra",
        "_may_resend",
        "_plain_header",
        "_queue",
        "_store",
        "last_sent",
        "processed",
        "queued_bytes",
    )

    def __init__(
        self,
        config: SessionConfig,
        store: Store,
        may_resend: Callable[[Message], bool] | None,
    ) -> None:
        self._config = config
        self._store = store
        self._may_resend = may_resend
        self._begin = config.begin_string.encode()
        self._extra = as_pairs(config.header.items())
        sender = config.sender_comp_id.encode().replace(b"%", b"%%")
        target = config.target_comp_id.encode().replace(b"%", b"%%")
        join_fields([(49, config.sender_comp_id), (56, config.target_comp_id)])
        self._plain_header = b"35=%%b\x0134=%%d\x0149=%b\x0152=%%b\x0156=%b\x01" % (
            sender,
            target,
        )
        self._queue: deque[bytes | Iterator[bytes]] = deque()
        self.processed: Callable[[], int] | None = None
        self.last_sent: Timestamp = 0
        self.queued_bytes = 0

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._queue)

    @property
    def resends_waiting(self) -> int:
        """How many ranges of messages wait to be sent again."""
        return sum(not isinstance(item, bytes) for item in self._queue)

    def clear(self) -> None:
        """Forget what waits; numbered messages can still be asked for again."""
        self._queue.clear()
        self.queued_bytes = 0

    def take(self, limit: int) -> bytes:
        """Return what waits, up to the message that reaches `limit` bytes.

        Raises:
            StoreError: If the store cannot be read or written.
        """
        parts: list[bytes] = []
        size = 0
        while self._queue and size < limit:
            item = self._queue[0]
            if isinstance(item, bytes):
                self._queue.popleft()
                self.queued_bytes -= len(item)
                part = item
            else:
                part = next(item, b"")
                if not part:
                    self._queue.popleft()
            parts.append(part)
            size += len(part)
        if parts:
            self._store.flush()
        return b"".join(parts)

    def send(
        self,
        kind: str,
        body: Sequence[tuple[int, FieldValue]],
        now: Timestamp,
        *,
        header: Sequence[tuple[int, FieldValue]] = (),
        session: bool = False,
    ) -> int:
        """Number, record and queue a message; return its number.

        Args:
            kind: MsgType.
            body: The fields behind the header.
            now: SendingTime.
            header: Further header fields.
            session: Whether it is of the session layer: gap-filled, never resent.

        Raises:
            EncodeError: If a field cannot be sent; no number is used then.
            StoreError: If it cannot be recorded.
        """
        number = self._store.next_outgoing
        message = self._encode(kind, number, now, header, body)
        self._store.record(number, None if session else message)
        self._queue.append(message)
        self.queued_bytes += len(message)
        self.last_sent = now
        return number

    def resend(self, first: int, last: int, now: Timestamp) -> None:
        """Queue what was sent as `first` to `last`, gaps filled."""
        self._queue.append(self._replay(first, last, now))
        self.last_sent = now

    def timestamp(self, now: Timestamp) -> bytes:
        """Return `now` as this session writes it."""
        return utc_timestamp(now, self._config.precision)

    # -- encoding --------------------------------------------------------------------

    def _encode(
        self,
        kind: str,
        number: int,
        now: Timestamp,
        header: Sequence[tuple[int, FieldValue]],
        body: Sequence[tuple[int, FieldValue]],
    ) -> bytes:
        if not kind.isalnum() or not kind.isascii():
            raise EncodeError(35, f"{kind!r} is no MsgType")
        for tag, _ in body:
            if tag in ENVELOPE:
                raise EncodeError(
                    tag, "this field is the header's or trailer's, not the body's"
                )
        sending_time = self.timestamp(now)
        if header or self._extra or self.processed is not None:
            head = self._long_header(kind, number, sending_time, header)
        else:
            head = self._plain_header % (kind.encode(), number, sending_time)
        return frame(self._begin, head + join_fields(body) if body else head)

    def _long_header(
        self,
        kind: str,
        number: int,
        sending_time: bytes,
        header: Sequence[tuple[int, FieldValue]],
    ) -> bytes:
        pairs = [
            *self._extra,
            *as_pairs(header),
            (34, b"%d" % number),
            (49, self._config.sender_comp_id.encode()),
            (52, sending_time),
            (56, self._config.target_comp_id.encode()),
        ]
        if self.processed is not None:
            pairs.append((369, b"%d" % self.processed()))
        pairs.sort(key=_tag)
        return join_fields([(35, kind.encode()), *pairs])

    # -- resending -------------------------------------------------------------------

    def _replay(self, first: int, last: int, now: Timestamp) -> Iterator[bytes]:
        cursor = first
        for number, raw in self._store.messages(first, last):
            message = Message(split_fields(raw[:-1]), raw)
            if self._may_resend is not None and not self._may_resend(message):
                continue
            if number > cursor:
                yield self._gap_fill(cursor, number, now)
            yield self._duplicate(message, now)
            cursor = number + 1
        if cursor <= last:
            yield self._gap_fill(cursor, last + 1, now)

    def _gap_fill(self, first: int, following: int, now: Timestamp) -> bytes:
        """SequenceReset-GapFill: `first` up to below `following` are not resent."""
        header = [(43, b"Y"), (122, self.timestamp(now))]
        head = self._long_header("4", first, self.timestamp(now), header)
        return frame(self._begin, head + b"36=%d\x01123=Y\x01" % following)

    def _duplicate(self, message: Message, now: Timestamp) -> bytes:
        """The same message with PossDupFlag, its time in 122 and now in 52."""
        header = [
            pair
            for pair in message.fields
            if pair[0] in ENVELOPE and pair[0] not in {8, 9, 10, 35, 43, 52, 122, 369}
        ]
        header += [(43, b"Y"), (52, self.timestamp(now)), (122, message[52])]
        if self.processed is not None:
            header.append((369, b"%d" % self.processed()))
        header.sort(key=_tag)
        body = [pair for pair in message.fields if pair[0] not in ENVELOPE]
        return frame(self._begin, join_fields([(35, message[35]), *header, *body]))


def _tag(pair: Pair) -> int:
    return pair[0]
