"""The contract of a decoded answer that can say that it is a refusal.

A response that arrives with HTTP status 200, or a reply to a subscription, may carry
its failure inside (`retCode`, `success`, `error`). Its Struct implements `validate`;
whoever decoded it calls that before anything else sees the value.
"""

from typing import Protocol, Self, runtime_checkable

__all__ = ["Validator"]


@runtime_checkable
class Validator(Protocol):
    """A decoded value that knows whether it reports success."""

    def validate(self) -> Self:
        """Return itself if it reports success.

        Raises:
            Subscribe: The venue refused a subscription.
            Exchange: The venue refused a request (or a subclass that says why).
        """
        ...
