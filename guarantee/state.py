"""The protocol's state in the database, moved in the transaction that moves the head."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import lru_cache
from typing import Final, get_args

from pydantic_core import to_json
from sqlalchemy import Connection, bindparam, select, update

from guarantee.errors import GuaranteeError
from guarantee.situations import Dossier, Gate, S, Situation
from guarantee.statements import Outcome, Statement, Value, insert_all, stored_name
from guarantee.store import BEYOND_INFORMED, STATES


class Trial:
    """One record's moves, kept apart until it is known to stand."""

    def __init__(self, state: "StoredState") -> None:
        self._state = state
        self._moved: dict[tuple[type[Situation], str], tuple[Situation, Situation | None]] = {}

    def get(self, kind: type[S], key: str) -> S | None:
        """The situation of that kind and key, if there is one."""
        if (kind, key) in self._moved:
            return self._moved[kind, key][0]  # type: ignore[return-value]  # keyed by its type
        return self._state.get(kind, key)

    def put(self, key: str, new: Situation, old: Situation | None) -> None:
        """Move a situation, for now."""
        self._moved[type(new), key] = (new, old)

    def settle(self) -> None:
        """The record stands: move the state for good."""
        for (_, key), (new, old) in self._moved.items():
            self._state.put(key, new, old)


class StateMoved(GuaranteeError):
    """Another writer moved the state: the transaction must end."""


def check_moved(outcomes: Iterable[Outcome]) -> None:
    """Check that each statement found what it expected, and moved that.

    Raises:
        StateMoved: Somebody moved it in between; the transaction must end.
    """
    if any(outcome.rowcount != 1 for outcome in outcomes):
        raise StateMoved("another writer moved the head or the state")


class StoredState:
    """The protocol's state in the database, read through and written back at the end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._read: dict[tuple[type[Situation], str], Situation | None] = {}
        self._moved: dict[tuple[type[Situation], str], Situation] = {}

    def get(self, kind: type[S], key: str) -> S | None:
        """The situation of that kind and key, if there is one."""
        if (kind, key) in self._moved:
            return self._moved[kind, key]  # type: ignore[return-value]  # keyed by its type
        if (kind, key) not in self._read:
            rows = _READ.rows(self._connection, its_kind=kind.__name__, its_key=key)
            self._read[kind, key] = _situation(kind, rows[0][0]) if rows else None
        return self._read[kind, key]  # type: ignore[return-value]  # keyed by its type

    def at(self, kind: type[S], steps: Iterable[str]) -> list[tuple[str, S]]:
        """Keys and situations of that kind at any of these steps, in the order of the keys."""
        among = [str(step) for step in steps]
        statement = select(STATES).where(STATES.c.kind == kind.__name__, STATES.c.step.in_(among))
        if Gate.INFORMED not in among:
            statement = statement.where(BEYOND_INFORMED)
        # In order only here: asked for an order, SQLite reads every key of the kind.
        rows = sorted(self._connection.execute(statement), key=lambda row: row.key)
        return [(row.key, _situation(kind, row.facts)) for row in rows]

    def put(self, key: str, new: Situation, old: Situation | None) -> None:
        """Move a situation; written by `flush`."""
        place = type(new), key
        self._read.setdefault(place, old)
        self._moved[place] = new

    def flush(self) -> list[Outcome]:
        """Write what moved, each from the facts that were read: `check_moved` has to follow."""
        inserted: list[tuple[Value, ...]] = []
        moved = []
        for (kind, key), new in self._moved.items():
            old = self._read[kind, key]
            if old is None:
                inserted.append((kind.__name__, stored_name(key), str(new.step), _facts(new)))
            else:
                outcome = _MOVE.run(
                    self._connection,
                    its_kind=kind.__name__,
                    its_key=key,
                    expected=_facts(old),
                    step=str(new.step),
                    facts=_facts(new),
                )
                moved.append(outcome)
        if inserted:
            insert_all(self._connection, STATES, inserted)
        self._read.update(self._moved)
        self._moved.clear()
        return moved


_READ: Final = Statement(
    select(STATES.c.facts).where(
        STATES.c.kind == bindparam("its_kind"), STATES.c.key == bindparam("its_key")
    )
)
_MOVE: Final = Statement(
    update(STATES)
    .where(
        STATES.c.kind == bindparam("its_kind"),
        STATES.c.key == bindparam("its_key"),
        STATES.c.facts == bindparam("expected"),
    )
    .values(step=bindparam("step"), facts=bindparam("facts"))
)


def stored_situations(
    connection: Connection,
) -> Iterator[tuple[tuple[type[Situation], str], Situation | None]]:
    """Every stored situation by kind and key; none where its facts cannot be read."""
    kinds: dict[str, type[Situation]] = {kind.__name__: kind for kind in get_args(Situation)}
    for row in connection.execute(select(STATES)):
        kind = kinds.get(row.kind, Dossier)
        try:
            situation: Situation | None = _read_facts(kind, row.facts)  # type: ignore[arg-type]
            # The next move of the state compares the very text.
            if situation is not None and _facts(situation) != row.facts:
                situation = None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            situation = None
        if situation is not None and (row.kind not in kinds or situation.step != row.step):
            situation = None
        yield (kind, row.key), situation


def _facts(situation: Situation) -> str:
    return to_json(situation, ensure_ascii=True).decode()


def _situation(kind: type[S], facts: str) -> S:
    return _read_facts(kind, facts)  # type: ignore[return-value,arg-type]  # of the kind asked for


@lru_cache(maxsize=256)
def _read_facts(kind: type[Situation], facts: str) -> Situation:
    values = json.loads(facts)
    types = {name.name: name.type for name in fields(kind)}
    values["step"] = types["step"](values["step"])  # type: ignore[operator]  # a StrEnum
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return kind(**values)
