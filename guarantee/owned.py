"""Which bodies are a patient's, noted for many records at once.

A database's index on pseudonyms, which are random, would cost each record a page of its own.
"""

from typing import Final

from sqlalchemy import CompoundSelect, Connection, bindparam, exists, func, insert, or_, select

from guarantee.statements import Statement
from guarantee.store import BODIES, HEAD, OWNED

TOGETHER: Final = 256
"""Records whose owners are noted together; the last ones, fewer than that, are read themselves."""


def owned_by(pseudonym: str) -> CompoundSelect[tuple[int]]:
    """The places in the log of what is sealed for a patient, in no order."""
    noted = select(OWNED.c.position).where(OWNED.c.key_id == pseudonym)
    up_to = select(func.max(HEAD.c.size - HEAD.c.size % TOGETHER)).scalar_subquery()
    last = select(BODIES.c.position).where(BODIES.c.key_id == pseudonym, BODIES.c.position >= up_to)
    return noted.union_all(last)


def note_owners(connection: Connection, *, old_size: int, size: int) -> None:
    """Note whose the bodies are that a log of `size` records has and one of `old_size` had not."""
    first, end = old_size - old_size % TOGETHER, size - size % TOGETHER
    if first < end:
        _NOTE.run(connection, first=first, end=end)


_NOTE: Final = Statement(
    insert(OWNED).from_select(
        ["key_id", "position"],
        select(BODIES.c.key_id, BODIES.c.position).where(
            BODIES.c.key_id.is_not(None),
            BODIES.c.position >= bindparam("first"),
            BODIES.c.position < bindparam("end"),
        ),
    )
)


def misnoted(connection: Connection, *, size: int) -> list[int]:
    """The places in a log of `size` records where what is noted is not whose the body is."""
    up_to = size - size % TOGETHER
    same = (OWNED.c.position == BODIES.c.position, OWNED.c.key_id == BODIES.c.key_id)
    missing = select(BODIES.c.position).where(
        BODIES.c.key_id.is_not(None),
        BODIES.c.position < up_to,
        ~exists().where(*same),
    )
    astray = select(OWNED.c.position).where(or_(OWNED.c.position >= up_to, ~exists().where(*same)))
    return [*connection.scalars(missing.union(astray))]
