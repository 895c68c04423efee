"""The tree's hashes in tiles of 256, as c2sp.org/tlog-tiles lays them out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

from guarantee.merkle import EMPTY_ROOT, Frontier, Hash, subtree_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT
_HASH = len(EMPTY_ROOT)

ReadTile = Callable[[int, int], bytes]
"""The hashes of the tile at (level, index), as many as there are, concatenated."""


class TileReader:
    """Nodes of the tree from its tiles; each tile is read once."""

    def __init__(self, read: ReadTile) -> None:
        self._read = read
        self._seen: dict[tuple[int, int], bytes] = {}

    def node_at(self, level: int, index: int) -> Hash:
        """Hash of the perfect subtree at (level, index).

        Raises:
            IndexError: The tiles do not reach that far.
        """
        tile_level, height = divmod(level, HEIGHT)
        tile, offset = divmod(index << height, WIDTH)
        rows = _folded(self._tile(tile_level, tile))
        place = offset >> height
        if height >= len(rows) or place >= len(rows[height]):
            raise IndexError(f"tile {tile_level}/{tile} ends before hash {offset}")
        return rows[height][place]

    def root(self, size: int) -> Hash:
        """The root of the first `size` entries."""
        return subtree_hash(0, size, self.node_at) if size else EMPTY_ROOT

    def _tile(self, level: int, index: int) -> bytes:
        if (level, index) not in self._seen:
            self._seen[level, index] = self._read(level, index)
        return self._seen[level, index]


@lru_cache(maxsize=512)
def _folded(hashes: bytes) -> tuple[tuple[Hash, ...], ...]:
    """The nodes over a tile's hashes, lowest first, as far as they are perfect subtrees."""
    row = tuple(hashes[at : at + _HASH] for at in range(0, len(hashes) - _HASH + 1, _HASH))
    rows = []
    while row:
        rows.append(row)
        row = tuple(fold_once(row))
    return tuple(rows)


def fold_once(row: Sequence[Hash]) -> list[Hash]:
    """The nodes one level up; an odd last one is left out."""
    return [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]


def perfect_root(hashes: Sequence[Hash]) -> Hash:
    """The root of a perfect tree over these hashes, as many as a power of two."""
    while len(hashes) > 1:
        hashes = fold_once(hashes)
    return hashes[0]


@dataclass(slots=True)
class Tile:
    """One tile to write: new, or in place of the shorter one that stands there."""

    level: int
    index: int
    hashes: bytes
    replaces: bool


@dataclass(slots=True)
class Edge:
    """The right edge of the tree: what an append must know, and the tiles that it changes.

    Attributes:
        frontier: The perfect subtrees of the log so far.
        open: For each tile level the hashes of its last, unfinished tile.
    """

    frontier: Frontier
    open: list[list[Hash]]
    _stored: list[int] = field(default_factory=list)
    _full: list[Tile] = field(default_factory=list)

    @classmethod
    def load(cls, size: int, read: ReadTile) -> "Edge":
        """The edge of a log of `size` entries."""
        unfinished: list[list[Hash]] = []
        count = size
        while count:
            tile, length = divmod(count, WIDTH)
            hashes = read(len(unfinished), tile) if length else b""
            unfinished.append(
                [hashes[place * _HASH : (place + 1) * _HASH] for place in range(length)]
            )
            count = tile
        frontier = Frontier.at(size, TileReader(read).node_at)
        return cls(frontier, unfinished, [len(hashes) for hashes in unfinished])

    def copy(self) -> "Edge":
        """An edge to try a batch on."""
        return Edge(
            Frontier(self.frontier.size, list(self.frontier.hashes)),
            [list(hashes) for hashes in self.open],
            list(self._stored),
        )

    def append(self, leaf: Hash) -> None:
        """Add one leaf hash."""
        index, carried = self.frontier.size, leaf
        self.frontier.append(leaf)
        level = 0
        while True:
            if level == len(self.open):
                self.open.append([])
                self._stored.append(0)
            self.open[level].append(carried)
            if len(self.open[level]) < WIDTH:
                return
            index //= WIDTH
            self._full.append(self._tile(level, index))
            carried = perfect_root(self.open[level])
            self.open[level] = []
            self._stored[level] = 0
            level += 1

    def changed(self) -> list[Tile]:
        """The tiles to write for all that was appended since the last call."""
        tiles, self._full = self._full, []
        count = self.frontier.size
        for level, hashes in enumerate(self.open):
            count = count // WIDTH
            if len(hashes) != self._stored[level]:
                tiles.append(self._tile(level, count))
                self._stored[level] = len(hashes)
        return tiles

    def _tile(self, level: int, index: int) -> Tile:
        hashes = b"".join(self.open[level])
        return Tile(level, index, hashes, replaces=self._stored[level] > 0)
