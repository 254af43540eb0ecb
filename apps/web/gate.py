"""What stands before every request: its size, its origin, its time, and a limited queue."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 6 * 2**20
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Busy(Exception):
    """The queue is full, or an answer took too long."""


class Workers:
    """Threads that compute, with a queue of limited length before them.

    Args:
        count: Requests that are computed at a time.
        waiting: Requests that may wait.
        seconds: Longest time from a request to its answer.
    """

    def __init__(self, *, count: int, waiting: int, seconds: float):
        """See the class."""
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="model")
        self._most, self._seconds = count + waiting, seconds
        self.pending = 0

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Returns what `function` returns.

        Raises:
            Busy: If too many wait already, or the time is over.
        """
        if self.pending >= self._most:
            raise Busy("Too many requests wait: try again in a moment.")
        self.pending += 1
        future = self._pool.submit(function, *args, **kwargs)
        # A thread cannot be stopped: it counts until it is done, whoever waits for it.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError:
            raise Busy(f"No answer within {self._seconds:g} seconds: send less at once.") from None

    def _done(self) -> None:
        self.pending -= 1

    def close(self) -> None:
        """Waits for what runs."""
        self._pool.shutdown(cancel_futures=True)


class Counters:
    """What `/metrics` shows, in the format of Prometheus."""

    def __init__(self, workers: Workers):
        """Registers the counters; each service has its own."""
        self.registry = CollectorRegistry()
        names = ["path", "status"]
        self.requests = Counter("requests", "Requests.", names, registry=self.registry)
        self.seconds = Histogram("request_seconds", "Time.", ["path"], registry=self.registry)
        pending = Gauge("pending", "Requests that compute or wait.", registry=self.registry)
        pending.set_function(lambda: workers.pending)


class Gate:
    """Middleware: reads bodies up to a limit, refuses other origins, sets headers, counts.

    Args:
        app: What answers.
        counters: What counts.
        hosts: Names that a request may call this server by; empty for any.
        origins: Other origins whose pages may ask, such as `https://example.com`.
        seconds: Longest time for a body to arrive.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        counters: Counters,
        hosts: Sequence[str],
        origins: Sequence[str],
        seconds: float,
    ):
        """See the class."""
        self._app, self._counters = app, counters
        self._hosts, self._origins, self._seconds = hosts, origins, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, statuses = time.perf_counter(), []

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        body = b""
        if refusal is None:
            try:
                body = await asyncio.wait_for(_read(receive), self._seconds)
            except TimeoutError:
                refusal = 408, "The request did not arrive in time: send it again."
            except OverflowError:
                refusal = 413, f"The request is larger than {MOST_BYTES >> 20} MB: send less."
            except ConnectionError:
                return
        if refusal is None:
            await self._app(scope, _replayed(body, receive), send_with_headers)
        else:
            status, line = refusal
            # What was not read cannot be skipped.
            response = JSONResponse({"error": line}, status, {"Connection": "close"})
            await response(scope, receive, send_with_headers)
        # Only paths that exist, so that strangers cannot make the table grow.
        path = getattr(scope.get("route"), "path", "other")
        self._counters.seconds.labels(path).observe(time.perf_counter() - start)
        self._counters.requests.labels(path, statuses[0] if statuses else 500).inc()

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._hosts and name not in self._hosts:
            return 403, "This server answers to its own name only: use the address that it printed."
        same = origin is None or origin.partition("://")[2] == host
        if not same and origin not in self._origins:
            return 403, "Pages of other origins are not answered: name them with --origins."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return 413, f"The request is larger than {MOST_BYTES >> 20} MB: send less."
        return None


async def _read(receive: Receive) -> bytes:
    """Returns the body; raises `OverflowError` if it is too large, else `ConnectionError`."""
    parts, length, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        more = message.get("more_body", False)
        if length > MOST_BYTES:
            raise OverflowError
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Returns a `receive` that gives a body that was read already, then what comes after it."""
    bodies = [body]

    async def replay() -> Message:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        return await receive()

    return replay
