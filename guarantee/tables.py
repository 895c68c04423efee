"""A database as it stands: its pages, its tables, and the kind of value in each cell.

Checked before anything is read from it, because SQLite lets an edit change all of these without
a word: an index can miss rows, a trigger can write them, bytes can become text.
"""

from functools import cache
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    String,
    and_,
    cast,
    create_engine,
    false,
    func,
    inspect,
    not_,
    or_,
    select,
    text,
)

from guarantee.checkpoint import MalformedNote, parse
from guarantee.findings import CouldNotCheck, Report
from guarantee.migrations import LATEST, migrate
from guarantee.source import StoredLog
from guarantee.store import CHECKPOINTS, HEAD, METADATA, SIGNED, TILES
from guarantee.tiles import WIDTH

_MOST_NAMED: Final = 100
_REVISIONS: Final = "alembic_version"


def check_tables(connection: Connection, report: Report) -> None:
    """Check pages, tables and cells; a database that holds nothing is none.

    1. SQLite's own check of every page and index: `quick_check` would not see an index that
       misses rows. It takes about as long as one pass over the log.
    2. Tables, indexes and triggers are those that the revisions make.
    3. Each cell holds the kind of value that its column is for; PostgreSQL sees to that itself.

    Raises:
        CouldNotCheck: No log was ever made here, or a later Garant made it.
    """
    names = set(inspect(connection).get_table_names())
    if not names & METADATA.tables.keys():
        raise CouldNotCheck("the database holds no log")
    of_sqlite = connection.dialect.name == "sqlite"
    # 1.
    if of_sqlite:
        pragma = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_NAMED})")
        for problem in pragma.scalars():
            if problem != "ok":
                report.found(f"the database file is damaged: {problem}")
    # 2.
    _check_revision(connection, names, report)
    if of_sqlite:
        _check_schema(connection, report)
    else:
        _check_server(connection, names, report)
    # 3.
    if of_sqlite and METADATA.tables.keys() <= names:
        _check_cells(connection, report)


def _check_revision(connection: Connection, names: set[str], report: Report) -> None:
    revisions: list[str] = []
    if _REVISIONS in names:
        query = text(f"SELECT CAST(version_num AS VARCHAR) FROM {_REVISIONS}")  # noqa: S608  # ours
        revisions = [str(one) for one in connection.scalars(query)]
    if len(revisions) != 1:
        report.found(f"the database names {len(revisions)} revisions of its tables, not one")
    elif revisions[0] != LATEST:
        raise CouldNotCheck(
            f"the tables are at revision {revisions[0]}, this verifier knows {LATEST}: open the "
            "log with the Garant that serves it, or take a later verifier"
        )


_Schema = dict[tuple[str, str], str]
"""SQL by kind and name."""


def _schema(connection: Connection) -> _Schema:
    # Statistics that an operator has SQLite gather are tables, too, and harmless.
    rows = connection.exec_driver_sql(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat_'"
    )
    return {
        (str(kind), str(name)): f"{table}: {''.join(str(sql).split())}"
        for kind, name, table, sql in rows
    }


@cache
def _made_schema() -> _Schema:
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            migrate(connection)
            return _schema(connection)
    finally:
        engine.dispose()


def _check_schema(connection: Connection, report: Report) -> None:
    found, made = _schema(connection), _made_schema()
    for kind, name in sorted(found.keys() | made.keys()):
        if (kind, name) not in found:
            report.found(f"the {kind} {name} is missing from the database")
        elif (kind, name) not in made:
            report.found(f"the database holds a {kind} {name}, which Garant never made")
        elif found[kind, name] != made[kind, name]:
            report.found(f"the {kind} {name} is not the one that Garant made")


def _check_server(connection: Connection, names: set[str], report: Report) -> None:
    for name in sorted(METADATA.tables.keys() - names):
        report.found(f"the table {name} is missing from the database")
    ours = {"ours": list(METADATA.tables)}
    for kind, query in _PROGRAMS.items():
        for table, name in connection.execute(text(query), ours):
            report.found(f"the table {table} has a {kind} {name}, which Garant never made")


_PROGRAMS: Final = {
    "trigger": "SELECT relname, tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
    " WHERE NOT tgisinternal AND relname = ANY(:ours)"
    " AND relnamespace = current_schema()::regnamespace",
    "rule": "SELECT tablename, rulename FROM pg_rules"
    " WHERE schemaname = current_schema() AND tablename = ANY(:ours)",
}
"""What PostgreSQL would run when a row is written."""


def _check_cells(connection: Connection, report: Report) -> None:
    for table in METADATA.sorted_tables:
        kinds = [func.typeof(column) for column in table.columns]
        wrong = [
            kind.not_in(_kinds(column)) for kind, column in zip(kinds, table.columns, strict=True)
        ]
        key = [cast(column, String) for column in table.primary_key.columns]
        statement = select(*key, *kinds).where(or_(*wrong)).limit(_MOST_NAMED)
        for row in connection.execute(statement):
            place, types = row[: len(key)], row[len(key) :]
            words = [
                f"{column.name} holds {kind}"
                for column, kind in zip(table.columns, types, strict=True)
                if kind not in _kinds(column)
            ]
            report.found(f"the row {'/'.join(map(str, place))} of {table.name}: {', '.join(words)}")


def _kinds(column: Column[object]) -> tuple[str, ...]:
    """What SQLite says of the kind of a cell in that column."""
    match column.type:
        case LargeBinary():
            kind = "blob"
        case Integer():
            kind = "integer"
        case _:
            kind = "text"
    return (kind, "null") if column.nullable else (kind,)


def check_copies(log: StoredLog, origin: str, report: Report) -> None:
    """Check what the tables repeat of the log, to find it by.

    1. The head, which is one.
    2. The origin beside head and checkpoint; sizes beside checkpoints.
    3. Tiles beyond those of the tree; the tree's own are checked with it.
    """
    # 1.
    if log.problem is not None:
        report.found(log.problem)
    # 2.
    for table in (HEAD, SIGNED):
        for named in log.connection.scalars(select(cast(table.c.origin, String))):
            if named != origin:
                report.found(f"the row of {table.name} names log {named}, this one is {origin}")
    for table in (SIGNED, CHECKPOINTS):
        rows = select(cast(table.c.size, String), cast(table.c.note, LargeBinary))
        for size, note in log.connection.execute(rows):
            if _size_in(note or b"") not in (size, None):
                report.found(f"a row of {table.name} names another size than its checkpoint")
    # 3.
    of_tree, count, level = [], log.size, 0
    while count:
        of_tree.append(
            and_(TILES.c.level == level, TILES.c.position.between(0, (count - 1) // WIDTH))
        )
        level, count = level + 1, count // WIDTH
    beyond = select(cast(TILES.c.level, String), cast(TILES.c.position, String))
    for place in log.connection.execute(beyond.where(not_(or_(false(), *of_tree)))):
        report.found(f"tile {'/'.join(map(str, place))} is not of the tree")


def _size_in(note: bytes) -> str | None:
    try:
        return str(parse(note).size)
    except MalformedNote:
        return None  # A finding of its own.
