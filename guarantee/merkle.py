"""The Merkle tree of RFC 9162: hashes, proofs and the frontier that appends need."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from guarantee.errors import GuaranteeError

Hash = bytes
"""32 bytes of SHA-256."""

EMPTY_ROOT: Hash = sha256(b"").digest()

NodeAt = Callable[[int, int], Hash]
"""Hash of the perfect subtree at (level, index); a leaf is at level 0."""


class ProofError(GuaranteeError):
    """A proof does not prove what it should."""


class MalformedProof(ProofError):
    """No log of that size could yield this proof."""


class RootMismatch(ProofError):
    """Well-formed, but proves a different log; carries both roots."""

    def __init__(self, *, expected: Hash, computed: Hash) -> None:
        super().__init__(
            f"the proof leads to root {computed.hex()}, the checkpoint says {expected.hex()}"
        )
        self.expected = expected
        self.computed = computed


def leaf_hash(entry: bytes) -> Hash:
    """Hash of a log entry. Source: RFC 9162, section 2.1.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: Hash, right: Hash) -> Hash:
    """Hash of an inner node. Source: RFC 9162, section 2.1.1."""
    return sha256(b"\x01" + left + right).digest()


def verify_inclusion(
    *, leaf: Hash, index: int, size: int, path: Sequence[Hash], root: Hash
) -> None:
    """Check that `leaf` is entry `index` of the log with this size and root.

    Args:
        leaf: 32-byte leaf hash, not the entry itself.
        index: Zero-based position, below `size`.
        size: Entries in the log, as signed in the checkpoint.
        path: Sibling hashes, leaf level first.
        root: 32-byte root from that same checkpoint.

    Raises:
        MalformedProof: No log of `size` entries could yield this proof.
        RootMismatch: Well-formed, but proves a different log; carries both roots.

    Source: RFC 9162, section 2.1.3.2.
    """
    _check_sizes(index=index, size=size)
    _check_hashes((leaf, root), path)
    if index >= size:
        raise MalformedProof(f"entry {index} is not in a log of {size} entries")
    node, last, computed = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise MalformedProof("the path goes on above the root")
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise MalformedProof("the path ends below the root")
    if computed != root:
        raise RootMismatch(expected=root, computed=computed)


def verify_consistency(
    *, old_size: int, old_root: Hash, size: int, root: Hash, path: Sequence[Hash]
) -> None:
    """Check that the log of `size` entries only added to the one of `old_size`.

    A log of 0 entries is consistent with itself alone: a proof from it to anything larger
    says nothing and is refused, as transparency-dev does (tlog-witness accepts an empty one).

    Args:
        old_size: Entries in the older checkpoint, at least 1 unless both are 0.
        old_root: Its 32-byte root.
        size: Entries in the newer checkpoint.
        root: Its 32-byte root.
        path: Hashes in the order of RFC 9162, section 2.1.4.1.

    Raises:
        MalformedProof: No two logs of these sizes could yield this proof.
        RootMismatch: Well-formed, but one of the roots is another log's; carries both roots.

    Source: RFC 9162, section 2.1.4.2.
    """
    _check_sizes(old_size=old_size, size=size)
    _check_hashes((old_root, root), path)
    if old_size > size:
        raise MalformedProof(f"a log of {old_size} entries cannot shrink to {size}")
    if old_size == size:
        if path:
            raise MalformedProof("two logs of one size need no path")
        if size == 0 and old_root != EMPTY_ROOT:
            raise RootMismatch(expected=old_root, computed=EMPTY_ROOT)
        if old_root != root:
            raise RootMismatch(expected=root, computed=old_root)
        return
    if old_size == 0:
        raise MalformedProof("an empty log proves nothing about a larger one")
    if not path:
        raise MalformedProof("the path is empty")

    node, last = old_size - 1, size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    # A perfect older tree is itself the first hash of the path, and is left out of it.
    hashes = list(path) if node else [old_root, *path]
    old_computed = computed = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise MalformedProof("the path goes on above the root")
        if node & 1 or node == last:
            old_computed = node_hash(sibling, old_computed)
            computed = node_hash(sibling, computed)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise MalformedProof("the path ends below the root")
    if old_computed != old_root:
        raise RootMismatch(expected=old_root, computed=old_computed)
    if computed != root:
        raise RootMismatch(expected=root, computed=computed)


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        if type(value) is not int or not 0 <= value < 1 << 63:
            raise MalformedProof(f"{name} is not a count of entries below 2^63")


def _check_hashes(ends: tuple[Hash, Hash], path: Sequence[Hash]) -> None:
    if not isinstance(path, (list, tuple)):
        raise MalformedProof("the path is not a sequence of hashes")
    for value in (*ends, *path):
        if not isinstance(value, bytes) or len(value) != len(EMPTY_ROOT):
            raise MalformedProof("a hash is not 32 bytes")


def inclusion_path(index: int, size: int, node_at: NodeAt) -> list[Hash]:
    """The path from entry `index` to the root of the first `size` entries.

    Source: RFC 9162, section 2.1.3.1.
    """
    return [subtree_hash(*sibling, node_at) for sibling in _siblings(index, 0, size)]


def consistency_path(old_size: int, size: int, node_at: NodeAt) -> list[Hash]:
    """The path from the root of the first `old_size` entries to that of the first `size`.

    Source: RFC 9162, section 2.1.4.1.
    """
    if old_size in (0, size):
        return []
    # The largest perfect subtree that ends the older log: its proof starts there.
    seed_size = old_size & -old_size
    seed = (old_size - seed_size, old_size)
    above = [
        subtree_hash(*sibling, node_at)
        for sibling in _siblings(old_size - 1, 0, size)
        if sibling[0] < seed[0] or sibling[0] >= seed[1]
    ]
    return above if seed_size == old_size else [subtree_hash(*seed, node_at), *above]


def _siblings(index: int, start: int, end: int) -> list[tuple[int, int]]:
    """Ranges of the subtrees beside the way from the root to `index`, lowest first."""
    ranges: list[tuple[int, int]] = []
    while end - start > 1:
        middle = start + largest_power_below(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def largest_power_below(size: int) -> int:
    """The largest power of two below `size`, at least 2: where RFC 9162 splits a tree."""
    return 1 << (size - 1).bit_length() - 1


def subtree_hash(start: int, end: int, node_at: NodeAt) -> Hash:
    """Hash of the entries from `start` to `end`, excluded; `start` is aligned as in a proof."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node_at(level, start >> level)
    middle = start + largest_power_below(size)
    return node_hash(subtree_hash(start, middle, node_at), subtree_hash(middle, end, node_at))


@dataclass(slots=True)
class Frontier:
    """The perfect subtrees that make up a log, largest first: all that an append must know."""

    size: int
    hashes: list[Hash]

    @classmethod
    def empty(cls) -> "Frontier":
        """The frontier of a log without entries."""
        return cls(0, [])

    @classmethod
    def at(cls, size: int, node_at: NodeAt) -> "Frontier":
        """The frontier of the first `size` entries."""
        hashes, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                hashes.append(node_at(level, start >> level))
                start += 1 << level
        return cls(size, hashes)

    def append(self, leaf: Hash) -> None:
        """Add one leaf hash."""
        size, carried = self.size, leaf
        while size & 1:
            carried = node_hash(self.hashes.pop(), carried)
            size >>= 1
        self.hashes.append(carried)
        self.size += 1

    @property
    def root(self) -> Hash:
        """The root of the log so far."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[Hash]) -> Hash:
    """The root over leaf hashes in their order."""
    frontier = Frontier.empty()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root
