"""Statements in the driver's own hands, for what every append does.

SQLAlchemy makes each statement, once a database: it takes longer to make one, and to wrap what it
gives, than the database takes to run it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any, Final, Protocol, cast

from sqlalchemy import ClauseElement, Column, Connection, Dialect, Table, bindparam, select
from sqlalchemy.sql.compiler import SQLCompiler

Value = str | int | bytes | None
"""What a column holds."""

Row = tuple[Any, ...]
"""What a driver gives: bytes, text, whole numbers or none, in the order of the columns."""


def stored_name(value: str) -> str:
    """A name as a column of `store.Name` holds it."""
    if value.isascii() and "\x00" not in value:
        return value
    return value.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")


class Statement:
    """A statement with named parameters.

    Its text goes to the driver as it is, and so do bytes and whole numbers; text is escaped as
    `stored_name` says. Errors are the driver's own: `Store` translates them.
    """

    def __init__(self, made: ClauseElement) -> None:
        self._made = made
        self._texts: dict[str, tuple[str, Sequence[str] | None]] = {}

    def rows(self, connection: Connection, **values: Value) -> list[Row]:
        """All rows that it gives."""
        return self.run(connection, **values).fetchall()

    def run(self, connection: Connection, **values: Value) -> "Outcome":
        """Run it; within `Store.together`, what it changed is known once that ends."""
        text, order = self._text(connection.dialect)
        given = {
            name: stored_name(value) if isinstance(value, str) else value
            for name, value in values.items()
        }
        return driver_of(connection).execute(
            text, given if order is None else [given[name] for name in order]
        )

    def _text(self, dialect: Dialect) -> tuple[str, Sequence[str] | None]:
        if dialect.name not in self._texts:
            compiled = cast(SQLCompiler, self._made.compile(dialect=dialect))
            self._texts[dialect.name] = (str(compiled), compiled.positiontup)
        return self._texts[dialect.name]


class Lookup:
    """Rows found by many values of one column at once."""

    def __init__(self, column: Column[Any], *columns: Column[Any]) -> None:
        """Give `column` and `columns` of the rows."""
        self._column = column
        self._columns = columns
        self._statements: dict[int, Statement] = {}

    def rows(self, connection: Connection, values: Sequence[Value]) -> list[Row]:
        """Those where the column is one of `values`, in no order."""
        if not values:
            return []
        # As many places as the next power of two: a dozen statements serve all numbers.
        places = 1 << (len(values) - 1).bit_length()
        if places not in self._statements:
            self._statements[places] = self._made(places)
        given = chain(values, repeat(values[0], places - len(values)))
        named = {f"place_{place}": value for place, value in enumerate(given)}
        return self._statements[places].rows(connection, **named)

    def _made(self, places: int) -> Statement:
        among = [bindparam(f"place_{n}", type_=self._column.type) for n in range(places)]
        return Statement(select(self._column, *self._columns).where(self._column.in_(among)))


def insert_all(connection: Connection, table: Table, rows: Sequence[tuple[Value, ...]]) -> None:
    """Insert rows, each in the order of the table's columns, its texts as `stored_name` has them.

    psycopg sends a row after the other in one trip; sqlite3 would give up the interpreter's lock
    for each, so it gets many in one statement.
    """
    driver = driver_of(connection)
    if connection.dialect.name != "sqlite":
        driver.cursor().executemany(_insertion(table, 1, connection.dialect), rows)
        return
    start = 0
    while start < len(rows):
        # So many as a power of two has: a few statements serve all numbers.
        count = min(_MOST_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        values = [*chain.from_iterable(rows[start : start + count])]
        driver.execute(_insertion(table, count, connection.dialect), values)
        start += count


_MOST_ROWS: Final = 64


@lru_cache(maxsize=256)
def _insertion(table: Table, count: int, dialect: Dialect) -> str:
    quote = dialect.identifier_preparer.quote
    columns = ", ".join(quote(column.name) for column in table.columns)
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    row = "(" + ", ".join(mark for _ in table.columns) + ")"
    rows = ", ".join([row] * count)
    return f"INSERT INTO {quote(table.name)} ({columns}) VALUES {rows}"  # noqa: S608  # our names


class Outcome(Protocol):
    """A cursor of sqlite3 or of psycopg."""

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed."""

    def fetchall(self) -> list[Row]:
        """The rows that it gave."""

    def executemany(self, text: str, rows: Sequence[Sequence[Value]]) -> object:
        """Run a statement for each row."""


class Driver(Protocol):
    """A connection of sqlite3 or of psycopg, which are alike here."""

    def execute(self, text: str, values: Mapping[str, Value] | Sequence[Value]) -> Outcome:
        """Run a statement."""

    def cursor(self) -> Outcome:
        """A cursor of its own."""


def driver_of(connection: Connection) -> Driver:
    """The driver's connection under SQLAlchemy's, in the same transaction."""
    return cast(Driver, connection.connection.driver_connection)
