"""What Bybit v5 says of an account: answers and private topics, as Structs.

https://bybit-exchange.github.io/docs/v5/order/create-order and its neighbours,
.../v5/websocket/private/order, /execution, /wallet, /position.
Lenient: the venue adds fields without notice. Numbers are text, and empty where there
is none.
"""

from typing import Any, TypeAlias

import msgspec

__all__ = [
    "Answer",
    "CoinRecord",
    "Envelope",
    "ExecutionRecord",
    "OrderPage",
    "OrderRecord",
    "Placed",
    "PositionRecord",
    "StreamMessage",
    "Topic",
    "WalletRecord",
    "decode",
]


class OrderRecord(msgspec.Struct, rename="camel"):
    """An order: of the topic `order`, of `/v5/order/realtime` or `/history`."""

    symbol: str
    order_id: str
    order_link_id: str
    side: str
    order_type: str
    time_in_force: str
    order_status: str
    qty: str
    price: str = ""
    cum_exec_qty: str = ""
    cum_exec_value: str = ""
    reduce_only: bool = False
    reject_reason: str = ""
    cancel_type: str = ""
    updated_time: str = "0"
    category: str = ""


class ExecutionRecord(msgspec.Struct, rename="camel"):
    """A fill, or another event of the same list (funding, settlement)."""

    symbol: str
    order_id: str
    order_link_id: str
    side: str
    exec_id: str
    exec_price: str
    exec_qty: str
    exec_time: str
    exec_type: str
    exec_fee: str = ""
    fee_currency: str = ""
    is_maker: bool = False
    category: str = ""


class CoinRecord(msgspec.Struct, rename="camel"):
    """What an account has of one coin."""

    coin: str
    wallet_balance: str
    locked: str = ""
    total_order_im: str = msgspec.field(default="", name="totalOrderIM")
    total_position_im: str = msgspec.field(default="", name="totalPositionIM")


class WalletRecord(msgspec.Struct, rename="camel"):
    """One account's coins."""

    coin: list[CoinRecord]


class PositionRecord(msgspec.Struct, rename="camel"):
    """A position; the topic says `entryPrice`, REST `avgPrice`."""

    symbol: str
    side: str
    size: str
    avg_price: str = ""
    entry_price: str = ""
    unrealised_pnl: str = ""
    updated_time: str = "0"
    category: str = ""


class Placed(msgspec.Struct, rename="camel"):
    """The names of an order that was taken or is to be cancelled."""

    order_id: str
    order_link_id: str = ""


class OrderPage(msgspec.Struct, rename="camel"):
    """A page of records; which ones, the endpoint says."""

    list: msgspec.Raw = msgspec.Raw(b"[]")
    next_page_cursor: str = ""


class Envelope(msgspec.Struct, rename="camel"):
    """Every answer: HTTP 200, and a code that says whether it is an error."""

    ret_code: int
    ret_msg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"{}")
    time: int = 0


class Topic(msgspec.Struct, rename="camel"):
    """A message of a private topic."""

    topic: str
    data: msgspec.Raw
    creation_time: int = 0


class Answer(msgspec.Struct, rename="camel"):
    """The answer to `auth`, `subscribe` or `ping`."""

    op: str
    success: bool | None = None
    ret_code: int | None = None
    ret_msg: str = ""
    # `subscribe` spells it with an underscore.
    other_msg: str = msgspec.field(default="", name="ret_msg")
    req_id: str = msgspec.field(default="", name="req_id")


StreamMessage: TypeAlias = (
    tuple[int, list[OrderRecord]]
    | tuple[int, list[ExecutionRecord]]
    | tuple[int, list[WalletRecord]]
    | tuple[int, list[PositionRecord]]
    | None
)
"""The creation time in ms, and records of one kind; None: nothing about an account."""


class _Probe(msgspec.Struct):
    topic: str = ""


_probe = msgspec.json.Decoder(_Probe)
_topic = msgspec.json.Decoder(Topic)
_KINDS: dict[str, Any] = {
    "order": msgspec.json.Decoder(list[OrderRecord]),
    "execution": msgspec.json.Decoder(list[ExecutionRecord]),
    "wallet": msgspec.json.Decoder(list[WalletRecord]),
    "position": msgspec.json.Decoder(list[PositionRecord]),
}


def decode(payload: bytes) -> StreamMessage:
    """Decode a message of the private stream.

    Raises:
        msgspec.DecodeError: It is none of Bybit's.
    """
    name = _probe.decode(payload).topic.partition(".")[0]
    records = _KINDS.get(name)
    if records is None:
        return None
    message = _topic.decode(payload)
    return message.creation_time, records.decode(message.data)
