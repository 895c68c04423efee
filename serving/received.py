"""Bodies as they arrive: JSON in UTF-8, each name once, whole numbers of any length."""

import json
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

# Python reads no longer one without a word, and no field takes one as long.
_MOST_DIGITS: Final = 300


class RepeatedField(HTTPException):
    """An object of the body names a field twice: which value is meant, nobody can tell.

    An `HTTPException`, since FastAPI takes all else that rises from a body for bad JSON.

    Attributes:
        location: Where it stands in the body, the field's name last.
    """

    def __init__(self, location: tuple[str | int, ...]) -> None:
        super().__init__(422)
        self.location = location


class ReceivedRequest(Request):
    """A request whose body is read strictly, where pydantic would see the last value alone."""

    async def json(self) -> object:
        """The body, parsed once.

        Raises:
            RepeatedField: A field is sent twice.
            ValueError: Not JSON, or not in UTF-8.
        """
        if not hasattr(self, "_json"):
            self._json = _parsed(await self.body())
        return self._json

    async def canonical(self) -> bytes:
        """What was sent, whatever the order of its fields and its white space."""
        try:
            # Escapes carry lone surrogates, which UTF-8 cannot.
            return json.dumps(await self.json(), sort_keys=True).encode()
        except (ValueError, RecursionError, RepeatedField):
            # No message takes such a body; the bytes are as good.
            return await self.body()


class ReceivedRoute(APIRoute):
    """A route whose calls get a `ReceivedRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's."""
        handle = super().get_route_handler()

        async def received(request: Request) -> Response:
            return await handle(ReceivedRequest(request.scope, request.receive))

        return received


def _parsed(raw: bytes) -> object:
    repeated: list[tuple[dict[str, Any], str]] = []

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            counted = Counter(name for name, _ in pairs)
            repeated.append((members, counted.most_common(1)[0][0]))
        return members

    whole = json.loads(raw.decode(), object_pairs_hook=distinct, parse_int=_whole_number)
    if repeated:
        # An object is complete after those inside it: the last one has not been lost itself.
        members, name = repeated[-1]
        raise RepeatedField((*_location(whole, members), name))
    return whole


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _location(whole: object, sought: dict[str, Any]) -> tuple[str | int, ...]:
    """Where in `whole` that very object stands."""
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), whole)]
    while waiting:
        location, value = waiting.pop()
        if value is sought:
            return location
        if isinstance(value, dict):
            waiting.extend(((*location, name), one) for name, one in value.items())
        elif isinstance(value, list):
            waiting.extend(((*location, place), one) for place, one in enumerate(value))
    return ()
