"""The protocol's state in the database, moved in the transaction that moves the head."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Final, get_args

from sqlalchemy import Connection, bindparam, select, update

from guarantee.errors import GuaranteeError
from guarantee.situations import Dossier, S, Situation
from guarantee.store import STATES, Value, insert_all


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
            place = {"its_kind": kind.__name__, "its_key": key}
            facts = self._connection.scalar(_READ, place)
            self._read[kind, key] = None if facts is None else _situation(kind, facts)
        return self._read[kind, key]  # type: ignore[return-value]  # keyed by its type

    def at(self, kind: type[S], steps: Iterable[str]) -> list[tuple[str, S]]:
        """Keys and situations of that kind at any of these steps, in the order of the keys."""
        statement = (
            select(STATES)
            .where(STATES.c.kind == kind.__name__, STATES.c.step.in_([str(step) for step in steps]))
            .order_by(STATES.c.key)
        )
        rows = self._connection.execute(statement)
        return [(row.key, _situation(kind, row.facts)) for row in rows]

    def put(self, key: str, new: Situation, old: Situation | None) -> None:
        """Move a situation; written by `flush`."""
        self._read.setdefault((type(new), key), old)
        self._moved[type(new), key] = new

    def flush(self) -> None:
        """Write what moved, each from the facts that were read.

        Raises:
            StateMoved: Somebody moved them in between; the transaction must end.
        """
        inserted: list[tuple[Value, ...]] = []
        moved = []
        for (kind, key), new in self._moved.items():
            old = self._read[kind, key]
            if old is None:
                inserted.append((kind.__name__, key, new.step.value, _facts(new)))
            else:
                moved.append(
                    {
                        "its_kind": kind.__name__,
                        "its_key": key,
                        "expected": _facts(old),
                        "step": new.step,
                        "facts": _facts(new),
                    }
                )
        if inserted:
            insert_all(self._connection, STATES, inserted)
        if moved and self._connection.execute(_MOVE, moved).rowcount != len(moved):
            raise StateMoved("another writer moved the state")
        self._read.update(self._moved)
        self._moved.clear()


# Built once: SQLAlchemy takes longer to make a statement than the database to run it.
_READ: Final = select(STATES.c.facts).where(
    STATES.c.kind == bindparam("its_kind"), STATES.c.key == bindparam("its_key")
)
_MOVE: Final = (
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
            situation: Situation | None = _read_facts(kind, row.facts)
            # The next move of the state compares the very text.
            if situation is not None and _facts(situation) != row.facts:
                situation = None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            situation = None
        if situation is not None and (row.kind not in kinds or situation.step != row.step):
            situation = None
        yield (kind, row.key), situation


def _facts(situation: Situation) -> str:
    facts = {name: getattr(situation, name) for name in type(situation).__slots__}
    return json.dumps(facts, separators=(",", ":"), sort_keys=True)


def _situation(kind: type[S], facts: str) -> S:
    return _read_facts(kind, facts)  # type: ignore[return-value]  # of the kind asked for


def _read_facts(kind: type[Situation], facts: str) -> Situation:
    values = json.loads(facts)
    types = {name.name: name.type for name in fields(kind)}
    values["step"] = types["step"](values["step"])  # type: ignore[operator]  # a StrEnum
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return kind(**values)
