"""The tree, built again from what a source holds: nothing stored is taken on trust.

This pass reads bytes and hashes them; it decodes no header. A canonical header names its body's
digest in one place only, since a quotation mark inside a JSON string is escaped.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby

from guarantee.findings import Progress, Report
from guarantee.merkle import EMPTY_ROOT, Frontier, Hash, leaf_hash
from guarantee.source import Entry, Source
from guarantee.tiles import WIDTH, perfect_root

_HASH = len(EMPTY_ROOT)
_DIGEST = b'"vaulted_digest":"'
_DIGEST_LENGTH = 64


@dataclass(slots=True)
class Rebuilt:
    """What the records' own bytes lead to.

    Attributes:
        root: Of the tree over all records.
        altered: Places whose header is not the one that was logged, or is missing.
        bare: Places whose header stands, and whose body is missing.
        spoilt: Places whose header stands, and whose body is not the one recorded.
    """

    source: Source
    size: int
    root: Hash = EMPTY_ROOT
    altered: set[int] = field(default_factory=set)
    bare: set[int] = field(default_factory=set)
    spoilt: set[int] = field(default_factory=set)
    _full: list[Hash] = field(default_factory=list)
    _replaced: dict[int, Hash] = field(default_factory=dict)

    def root_at(self, size: int) -> Hash:
        """The root of the first `size` records, at most all of them."""
        size = max(0, min(size, self.size))
        full, rest = divmod(size, WIDTH)
        frontier = _over_tiles(self._full[:full])
        start = full * WIDTH
        leaves = {
            entry.place: leaf_hash(entry.header)
            for entry in (self.source.entries(start, size, rows=False) if rest else ())
        }
        for index in range(start, size):
            frontier.append(self._replaced.get(index) or leaves.get(index) or bytes(_HASH))
        return frontier.root

    def leaves_of(self, start: int, leaves: list[Hash]) -> None:
        """Take the leaf hashes of one tile; the last tile may be shorter."""
        if len(leaves) == WIDTH:
            self._full.append(perfect_root(leaves))
        if start + len(leaves) == self.size:
            frontier = _over_tiles(self._full)
            for leaf in leaves if len(leaves) < WIDTH else ():
                frontier.append(leaf)
            self.root = frontier.root

    def replace(self, index: int, leaf: Hash) -> None:
        """Go on with the hash that was logged, so that one altered header is one finding."""
        self.altered.add(index)
        self._replaced[index] = leaf

    @property
    def full_tiles(self) -> list[Hash]:
        """The hash of each full tile of leaves."""
        return self._full


def rebuild(source: Source, report: Report, progress: Progress) -> Rebuilt:
    """Hash every header and every body, build the tree, and name what does not fit.

    1. Hash the headers of a tile; where the source's tile says otherwise, name the records.
    2. Hash the bodies; compare with what their headers say.
    3. Compare the tiles above and the root that the source says.
    """
    tree = Rebuilt(source, source.size)
    expected = 0
    for tile, group in groupby(_within(source, report), key=lambda entry: entry[0] // WIDTH):
        for skipped in range(expected, tile):
            _check_tile(source, tree, report, skipped, [])
        # 1.
        entries = list(group)
        _check_tile(source, tree, report, tile, entries)
        # 2.
        _check_digests(tree, report, entries)
        expected = tile + 1
        progress(min(expected * WIDTH, source.size), source.size)
    for skipped in range(expected, -(-source.size // WIDTH)):
        _check_tile(source, tree, report, skipped, [])
    # 3.
    _check_upper_tiles(source, tree, report)
    if source.root is not None and tree.root != source.root:
        report.found(
            f"the records lead to root {tree.root.hex()}, the head says {source.root.hex()}"
        )
    report.size, report.root = tree.size, tree.root
    return tree


def _within(source: Source, report: Report) -> Iterator[Entry]:
    size = source.size
    for entry in source.entries(rows=False):
        if 0 <= entry[0] < size:
            yield entry
        else:
            _blame(source, report, entry, "stands beyond the head")


def _check_tile(
    source: Source, tree: Rebuilt, report: Report, tile: int, entries: list[Entry]
) -> None:
    start = tile * WIDTH
    count = min(WIDTH, source.size - start)
    leaves = [sha256(b"\x00" + entry.header).digest() for entry in entries]
    stored = source.tile(0, tile)
    if len(entries) != count or (stored is not None and b"".join(leaves) != stored):
        leaves = _named(tree, report, range(start, start + count), entries, stored)
    tree.leaves_of(start, leaves)


def _named(
    tree: Rebuilt, report: Report, places: range, entries: list[Entry], stored: bytes | None
) -> list[Hash]:
    """The leaf hashes of a tile that does not fit, each record at fault named."""
    if stored is not None and len(stored) != len(places) * _HASH:
        report.found(f"tile 0/{places.start // WIDTH} holds {len(stored)} bytes")
    found = {entry.place: entry for entry in entries}
    leaves = []
    for index in places:
        offset = (index - places.start) * _HASH
        logged = stored[offset : offset + _HASH] if stored is not None else b""
        entry = found.get(index)
        if entry is None:
            report.found("the record is missing", index=index)
            tree.replace(index, logged if len(logged) == _HASH else bytes(_HASH))
            leaves.append(logged if len(logged) == _HASH else bytes(_HASH))
            continue
        leaf = leaf_hash(entry.header)
        if stored is not None and len(logged) != _HASH:
            _blame(tree.source, report, entry, "its hash is missing from the tiles")
        elif stored is not None and leaf != logged:
            _blame(tree.source, report, entry, "the header is not the one that was logged")
            tree.replace(index, logged)
            leaf = logged
        leaves.append(leaf)
    return leaves


def _check_digests(tree: Rebuilt, report: Report, entries: list[Entry]) -> None:
    altered = tree.altered
    for entry in entries:
        place, header, stored, *_ = entry
        if place in altered:
            continue
        if stored is None:
            tree.bare.add(place)
            continue
        at = header.rfind(_DIGEST) + len(_DIGEST)
        if sha256(stored).hexdigest().encode() != header[at : at + _DIGEST_LENGTH]:
            tree.spoilt.add(place)
            _blame(tree.source, report, entry, "the body is not the one that was recorded")


def _blame(source: Source, report: Report, entry: Entry, problem: str) -> None:
    """Add a finding on a record, by the id in its row, or else in its header."""
    whole = next(source.entries(entry.place, entry.place + 1), entry)
    report.found(problem, record=whole.id or _id_in(entry.header), index=entry.place)


def _id_in(header: bytes) -> str | None:
    """The id that a header names, decoded or not: for a finding to say."""
    _, found, rest = header.partition(b'"id":"')
    return rest[:36].decode("ascii", "replace") if found else None


def _check_upper_tiles(source: Source, tree: Rebuilt, report: Report) -> None:
    level, hashes = 1, tree.full_tiles
    while hashes:
        full = []
        for tile in range(-(-len(hashes) // WIDTH)):
            part = hashes[tile * WIDTH : (tile + 1) * WIDTH]
            stored = source.tile(level, tile)
            if stored is None:
                return
            if stored != b"".join(part):
                report.found(f"tile {level}/{tile} is not over the tiles below it")
            if len(part) == WIDTH:
                full.append(perfect_root(part))
        level, hashes = level + 1, full


def _over_tiles(full: Iterable[Hash]) -> Frontier:
    """The frontier of a log of these full tiles and nothing else."""
    frontier = Frontier.empty()
    for root in full:
        frontier.append(root)
    frontier.size *= WIDTH
    return frontier
