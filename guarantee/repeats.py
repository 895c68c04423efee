"""Idempotency keys: what was asked before is answered as it was then, and recorded once."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from guarantee.logged import LedgerError, Recorded, recorded_in
from guarantee.statements import Lookup
from guarantee.store import REQUESTS

_REQUESTS: Final = Lookup(REQUESTS.c.key, REQUESTS.c.digest, REQUESTS.c.record_id)


class RequestConflict(LedgerError):
    """The idempotency key was used for another request."""


Blinded = tuple[bytes, bytes]
"""An idempotency key and what was asked under it, both blinded."""


class Asked:
    """What some idempotency keys recorded, in this group or before."""

    def __init__(
        self,
        connection: Connection,
        requests: Iterable[Blinded],
        bind: Callable[[bytes, bytes, str], bytes],
    ) -> None:
        self._connection = connection
        self._bind = bind
        rows = _REQUESTS.rows(connection, [*{key for key, _ in requests}])
        self._before: dict[bytes, tuple[bytes, str]] = {
            key: (bound, id_) for key, bound, id_ in rows
        }
        self._now: dict[bytes, tuple[bytes, Recorded]] = {}

    def repeat(self, request: Blinded) -> Recorded | None:
        """What it recorded, if it did.

        Raises:
            RequestConflict: The key was used for another request.
        """
        key, content = request
        if key in self._now:
            first, recorded = self._now[key]
            _check_same(first, content)
            return replace(recorded, repeated=True)
        if key not in self._before:
            return None
        bound, record_id = self._before[key]
        # A row that was altered is no word of ours: it is refused like another request's.
        _check_same(bound, self._bind(key, content, record_id))
        return recorded_in(self._connection, record_id, repeated=True)

    def bound(self, request: Blinded, recorded: Recorded) -> tuple[bytes, bytes, str]:
        """The row that remembers what it recorded."""
        key, content = request
        self._now[key] = (content, recorded)
        return key, self._bind(key, content, recorded.id), recorded.id


def _check_same(first: bytes, second: bytes) -> None:
    if first != second:
        raise RequestConflict("the idempotency key was used for another request: take a new one")
