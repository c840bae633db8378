"""How Binance spells trades (see `integration.market.shapes`).

Spot servers sent the orders' ids (`b`, `a`) until 2023; futures say in `X` that a trade
is an ordinary one, anything else takes the decoder. Bare on `/ws`, in an envelope on
`/stream`.
"""

__all__ = ["AGG_TRADES", "TRADES"]

_SPOT = (
    '{"e":"trade","E":<int>,"s":"<symbol>","t":<id>,"p":"<price>","q":"<amount>"'
    '<?,"b":<int>,"a":<int>?>,"T":<time>,"m":<maker>,"M":<bool>}'
)
_FUTURES = (
    '{"e":"trade","E":<int>,"T":<time>,"s":"<symbol>","t":<id>,"p":"<price>",'
    '"q":"<amount>","X":"MARKET","m":<maker>}'
)
_AGG_SPOT = (
    '{"e":"aggTrade","E":<int>,"s":"<symbol>","a":<id>,"p":"<price>","q":"<amount>",'
    '"f":<first>,"l":<last>,"T":<time>,"m":<maker>,"M":<bool>}'
)
_AGG_FUTURES = (
    '{"e":"aggTrade","E":<int>,"a":<id>,"s":"<symbol>","p":"<price>","q":"<amount>",'
    '"f":<first>,"l":<last>,"T":<time>,"m":<maker><?,"st":<int>?>}'
)


def _enveloped(text: str) -> str:
    return '{"stream":"<text>","data":' + text + "}"


TRADES = (_enveloped(_SPOT), _enveloped(_FUTURES), _SPOT, _FUTURES)
AGG_TRADES = (
    _enveloped(_AGG_SPOT),
    _enveloped(_AGG_FUTURES),
    _AGG_SPOT,
    _AGG_FUTURES,
)
