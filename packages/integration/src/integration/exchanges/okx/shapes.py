"""How OKX spells a trade (see `integration.market.shapes`).

`count` came in 2023, `source` and `seqId` later; a message of several trades takes the
decoder.
"""

__all__ = ["TRADES"]

TRADES = (
    '{"arg":{"channel":"trades","instId":"<symbol>"},"data":[{"instId":"<text>",'
    '"tradeId":"<id>","px":"<price>","sz":"<amount>","side":"<side>","ts":"<time>"'
    '<?,"count":"<count>"?><?,"source":"<text>"?><?,"seqId":<int>?>}]}'
)
