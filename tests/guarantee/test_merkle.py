"""The tree of RFC 9162, checked against its recursive definition and its laws."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarantee.merkle import (
    EMPTY_ROOT,
    Frontier,
    Hash,
    MalformedProof,
    ProofError,
    RootMismatch,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([n])) for n in range(70)]


def defined_root(leaves: list[Hash]) -> Hash:
    """MTH of RFC 9162, section 2.1.1, as it stands there."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


def node_at(level: int, index: int) -> Hash:
    return defined_root(LEAVES[index << level : (index + 1) << level])


def test_roots_of_the_reference_log_of_certificate_transparency() -> None:
    entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
    entries.append("606162636465666768696a6b6c6d6e6f")
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in entries]
    assert leaves[0].hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert (
        root_of(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    )


def test_the_frontier_follows_the_definition_at_every_size() -> None:
    frontier = Frontier.empty()
    assert frontier.root == EMPTY_ROOT
    for size, leaf in enumerate(LEAVES, start=1):
        frontier.append(leaf)
        assert frontier.root == defined_root(LEAVES[:size])
        assert Frontier.at(size, node_at).hashes == frontier.hashes


def test_an_inclusion_proof_holds_at_its_own_position_only() -> None:
    for size in range(1, 24):
        root = defined_root(LEAVES[:size])
        for index in range(size):
            path = inclusion_path(index, size, node_at)
            verify_inclusion(leaf=LEAVES[index], index=index, size=size, path=path, root=root)
            for other in range(size + 2):
                if other != index:
                    with pytest.raises(ProofError):
                        verify_inclusion(
                            leaf=LEAVES[index], index=other, size=size, path=path, root=root
                        )


def test_a_consistency_proof_holds_between_its_own_sizes_only() -> None:
    for size in range(1, 24):
        root = defined_root(LEAVES[:size])
        for old_size in range(1, size + 1):
            old_root = defined_root(LEAVES[:old_size])
            path = consistency_path(old_size, size, node_at)
            verify_consistency(
                old_size=old_size, old_root=old_root, size=size, root=root, path=path
            )
            for other in range(size + 2):
                if other != old_size:
                    with pytest.raises(ProofError):
                        verify_consistency(
                            old_size=other, old_root=old_root, size=size, root=root, path=path
                        )


@given(st.data())
def test_no_altered_proof_holds(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    root = defined_root(LEAVES[:size])
    path = inclusion_path(index, size, node_at)
    at = data.draw(st.integers(0, len(path) - 1))
    flipped = bytes([path[at][0] ^ 1 << data.draw(st.integers(0, 7))]) + path[at][1:]
    for altered in (
        [*path[:at], flipped, *path[at + 1 :]],
        [*path[:at], *path[at + 1 :]],
        [*path, root],
        [root, *path],
        [*path[:at], path[at][:31], *path[at + 1 :]],
        [*path[:at], path[at] + b"\x00", *path[at + 1 :]],
    ):
        with pytest.raises(ProofError):
            verify_inclusion(leaf=LEAVES[index], index=index, size=size, path=altered, root=root)


def test_an_empty_log_is_consistent_with_itself_alone() -> None:
    verify_consistency(old_size=0, old_root=EMPTY_ROOT, size=0, root=EMPTY_ROOT, path=[])
    with pytest.raises(MalformedProof, match="proves nothing"):
        verify_consistency(old_size=0, old_root=EMPTY_ROOT, size=1, root=LEAVES[0], path=[])
    with pytest.raises(MalformedProof, match="no path"):
        verify_consistency(
            old_size=0, old_root=EMPTY_ROOT, size=0, root=EMPTY_ROOT, path=[LEAVES[0]]
        )
    with pytest.raises(RootMismatch):
        verify_consistency(old_size=0, old_root=LEAVES[0], size=0, root=LEAVES[0], path=[])


def test_a_log_of_no_entry_includes_nothing_and_of_one_its_leaf() -> None:
    with pytest.raises(MalformedProof):
        verify_inclusion(leaf=LEAVES[0], index=0, size=0, path=[], root=EMPTY_ROOT)
    verify_inclusion(leaf=LEAVES[0], index=0, size=1, path=[], root=LEAVES[0])


@pytest.mark.parametrize("size", [-1, 1 << 63, True, 1.0, "1", None])
def test_a_size_that_is_no_count_is_malformed(size: object) -> None:
    with pytest.raises(MalformedProof):
        verify_inclusion(leaf=LEAVES[0], index=0, size=size, path=[], root=LEAVES[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("root", [b"", LEAVES[0][:31], "a" * 32, None])
def test_a_root_that_is_no_hash_is_malformed(root: object) -> None:
    with pytest.raises(MalformedProof):
        verify_inclusion(leaf=LEAVES[0], index=0, size=1, path=[], root=root)  # type: ignore[arg-type]


def test_a_mismatch_carries_both_roots() -> None:
    with pytest.raises(RootMismatch) as mismatch:
        verify_inclusion(leaf=LEAVES[0], index=0, size=1, path=[], root=LEAVES[1])
    assert (mismatch.value.expected, mismatch.value.computed) == (LEAVES[1], LEAVES[0])
