"""What the service says of its traffic: log lines and figures by route, never a value sent.

BentoML's own access log and metrics name the path and the content type as the caller wrote them;
they are turned off, and these stand in their place.
"""

import logging
import traceback
from time import perf_counter
from typing import Final

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import unexpected

REQUESTS: Final = Counter(
    "garant_http_requests", "Requests answered.", ["method", "route", "status"]
)
SECONDS: Final = Histogram(
    "garant_http_request_seconds",
    "From the request's head to the end of its answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# What proxies log where the caller left before the answer.
_GONE: Final = 499
# Below "bentoml", so that the server's handlers print it.
_LOG: Final = logging.getLogger("bentoml.garant")


class Traffic:
    """Counts and logs each request by its route's template, and answers where all else fails."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        # The last line: whatever failed, the server must not print it with its values.
        except Exception as error:  # noqa: BLE001
            _LOG.error("failed: %s", _bare(error))
            if not status:
                await unexpected()(scope, receive, observed)
        finally:
            _note(scope, status or _GONE, perf_counter() - started)


def _note(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    route = getattr(scope.get("route"), "path", "") or "unmatched"
    REQUESTS.labels(method, route, str(status)).inc()
    SECONDS.labels(route).observe(seconds)
    _LOG.info("%s %s %d %.1f ms", method, route, status, seconds * 1000)


def _bare(error: BaseException) -> str:
    """The kinds of an error and of its causes, and where they rose; not their messages."""
    chain = []
    seen: BaseException | None = error
    while seen is not None:
        frames = traceback.extract_tb(seen.__traceback__)[-3:]
        places = " < ".join(
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames)
        )
        chain.append(f"{type(seen).__name__} at {places}")
        seen = seen.__cause__ or seen.__context__
    return " from ".join(chain)


class WithoutValues(logging.Filter):
    """Takes messages of errors out of log records: they may hold what a caller sent."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, bare."""
        if record.exc_info and record.exc_info[1] is not None:
            record.msg = f"{record.getMessage()}: {_bare(record.exc_info[1])}"
            record.args = ()
            record.exc_info = None
            record.exc_text = None
        return True


def quieten() -> None:
    """Put the filter on every handler that the server has."""
    known = [logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in known for handler in logger.handlers}:
        if not any(isinstance(one, WithoutValues) for one in handler.filters):
            handler.addFilter(WithoutValues())
