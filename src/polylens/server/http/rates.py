"""Rate limits: how much each key may send per minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from polylens.errors import RateLimitError


@dataclass(slots=True)
class TokenBucket:
    """An allowance that refills steadily, and never holds more than one minute's worth."""

    per_minute: float
    at: float  # seconds, when it was last refilled
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.per_minute

    def refill(self, now: float) -> None:
        self.left = min(self.per_minute, self.left + (now - self.at) * self.per_minute / 60)
        self.at = now

    def seconds_until(self, amount: float) -> float:
        """The seconds until the bucket holds an amount again, or is full where the amount is more than it can hold."""
        return max(0.0, min(amount, self.per_minute) - self.left) * 60 / self.per_minute


class RateLimits:
    """The rate limits of all owners.

    Args:
        requests: Requests per minute; None sets no limit.
        tokens: Tokens per minute, as `usage` counts them; None sets no limit.
        clock: Seconds that only grow.
    """

    def __init__(self, requests: int | None, tokens: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests, self.tokens, self._clock = requests, tokens, clock
        self._buckets: dict[tuple[str, str], TokenBucket] = {}

    def take_request(self, owner: str) -> None:
        """Counts a request before it is read.

        Raises:
            RateLimitError: The request is one too many, or earlier ones have used up the tokens; `retry_after` says how
                long to wait.
        """
        requests, tokens = self._bucket("requests", owner), self._bucket("tokens", owner)
        if tokens is not None and tokens.left <= 0:
            raise RateLimitError(
                f"Token rate limit exceeded: {tokens.per_minute - tokens.left:,.0f}/{tokens.per_minute:,.0f} "
                "tokens per minute. Reduce batch sizes.",
                retry_after=tokens.seconds_until(1),
                code="RATE_TOKEN_LIMIT_EXCEEDED",
            )
        if requests is not None and requests.left < 1:
            raise RateLimitError(
                f"Request rate limit exceeded: {requests.per_minute:.0f}/{requests.per_minute:.0f} requests "
                "per minute. Reduce request frequency.",
                retry_after=requests.seconds_until(1),
            )
        if requests is not None:
            requests.left -= 1

    def take_tokens(self, owner: str, tokens: int) -> None:
        """Counts the tokens of a finished request; if they were too many, the next request waits."""
        bucket = self._bucket("tokens", owner)
        if bucket is not None:
            bucket.left -= tokens

    def headers(self, owner: str) -> dict[str, str]:
        """The published headers for the limits that are set."""
        names = (("requests", "X-RateLimit-Remaining-Requests"), ("tokens", "X-RateLimit-Remaining-Tokens"))
        buckets = [(header, self._bucket(kind, owner)) for kind, header in names]
        return {header: str(max(0, int(bucket.left))) for header, bucket in buckets if bucket is not None}

    def _bucket(self, kind: str, owner: str) -> TokenBucket | None:
        limit = self.requests if kind == "requests" else self.tokens
        if limit is None:
            return None
        now = self._clock()
        bucket = self._buckets.setdefault((kind, owner), TokenBucket(limit, now))
        bucket.refill(now)
        return bucket
