"""netcore's HTTP reader as outside suites call it."""

from netcore.http import Kind, MessageReader


def parse(data: bytes, kind: str, bytewise: bool) -> list[dict]:
    """Return the messages in `data`, which is all that a connection brought.

    Args:
        data: The bytes.
        kind: "response" or "request".
        bytewise: Whether to feed them one at a time.

    Raises:
        HttpProtocolError: If they are no HTTP/1.1.
    """
    reader = MessageReader(Kind(kind))
    pieces = [data[i : i + 1] for i in range(len(data))] if bytewise else [data]
    messages = [message for piece in pieces for message in reader.feed(piece)]
    if reader.fault is not None:
        raise reader.fault
    if reader.until_close:
        messages.append(reader.feed_eof())
    elif reader.partial is not None:
        messages.append(reader.partial)
    first = (
        (lambda m: {"status": m.status})
        if kind == "response"
        else (lambda m: {"method": m.method, "url": m.target})
    )
    return [
        {
            **first(message),
            "headers": [*message.headers, *message.trailers],
            "body": message.body,
            "complete": message.complete,
        }
        for message in messages
    ]
