"""Tiles and entry bundles as they leave the house: c2sp.org/tlog-tiles.

What is asked for beyond the committed head is not there: a checkpoint over it may be had at once.
"""

import re
from typing import Final

from guarantee.ledger import Ledger
from guarantee.logged import UnknownRecord
from guarantee.merkle import EMPTY_ROOT
from guarantee.source import StoredLog
from guarantee.tiles import HEIGHT, WIDTH

HIGHEST_LEVEL: Final = 63
_HASH: Final = len(EMPTY_ROOT)
_PLACE: Final = re.compile(r"((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)


def parse_place(text: str) -> tuple[int, int]:
    """The index and width of a tile from the end of its address, as `x001/234` or `007.p/12`.

    Raises:
        UnknownRecord: No tile has that address.
    """
    matched = _PLACE.fullmatch(text)
    if matched is not None:
        groups, width = matched[1].replace("x", "").split("/"), int(matched[2] or WIDTH)
        # One address for each tile: no group of zeros stands in front.
        if (len(groups) == 1 or groups[0] != "000") and (matched[2] is None or width < WIDTH):
            return int("".join(groups)), width
    raise UnknownRecord("no tile has that address: see c2sp.org/tlog-tiles")


def tile(ledger: Ledger, level: int, index: int, width: int) -> bytes:
    """So many hashes of a tile, concatenated.

    Raises:
        UnknownRecord: The log has not that many.
    """
    with ledger.store.reading() as connection:
        log = StoredLog(connection)
        _check(log, level, index, width)
        return (log.tile(level, index) or b"")[: width * _HASH]


def entry_bundle(ledger: Ledger, index: int, width: int) -> bytes:
    """So many headers of one tile, each behind its length in two bytes, big-endian.

    Raises:
        UnknownRecord: The log has not that many.
    """
    with ledger.store.reading() as connection:
        log = StoredLog(connection)
        _check(log, 0, index, width)
        start = index * WIDTH
        headers = (entry.header for entry in log.entries(start, start + width))
        return b"".join(len(header).to_bytes(2) + header for header in headers)


def _check(log: StoredLog, level: int, index: int, width: int) -> None:
    if not 0 <= level <= HIGHEST_LEVEL or (index * WIDTH + width) << (HEIGHT * level) > log.size:
        raise UnknownRecord("the log has not that many records")
