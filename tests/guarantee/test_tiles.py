"""Tiles hold the tree: written in batches of any size, read back at any size."""

from hypothesis import given, settings
from hypothesis import strategies as st

from guarantee.merkle import EMPTY_ROOT, leaf_hash, root_of
from guarantee.tiles import Edge, TileReader


@given(st.lists(st.integers(1, 300), min_size=1, max_size=6), st.booleans())
@settings(deadline=None, max_examples=40)
def test_tiles_written_in_batches_give_the_root_of_every_size(
    batches: list[int], reload: bool
) -> None:
    stored: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        return stored[level, index]

    leaves: list[bytes] = []
    edge = Edge.load(0, read)
    for batch in batches:
        edge = Edge.load(len(leaves), read) if reload else edge.copy()
        for _ in range(batch):
            leaves.append(leaf_hash(len(leaves).to_bytes(4)))
            edge.append(leaves[-1])
        for tile in edge.changed():
            assert tile.replaces == ((tile.level, tile.index) in stored)
            stored[tile.level, tile.index] = tile.hashes
        assert edge.frontier.root == root_of(leaves)
    for size in {0, 1, 255, 256, 257, len(leaves)}:
        if size <= len(leaves):
            assert TileReader(read).root(size) == root_of(leaves[:size])


def test_two_levels_of_tiles_carry_a_log_of_more_than_65536_entries() -> None:
    stored: dict[tuple[int, int], bytes] = {}
    edge = Edge.load(0, lambda _level, _index: b"")
    leaves = [leaf_hash(n.to_bytes(4)) for n in range(65_800)]
    for leaf in leaves:
        edge.append(leaf)
    for tile in edge.changed():
        stored[tile.level, tile.index] = tile.hashes
    reader = TileReader(lambda level, index: stored[level, index])
    assert reader.root(65_800) == edge.frontier.root
    assert reader.root(65_537) == root_of(leaves[:65_537])
    assert {level for level, _ in stored} == {0, 1, 2}


def test_the_tree_of_no_entry_has_the_empty_root() -> None:
    assert TileReader(lambda _level, _index: b"").root(0) == EMPTY_ROOT
