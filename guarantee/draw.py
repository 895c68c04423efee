"""A sample of cases that nobody could choose, and anyone can draw again.

The college announces rate, frame and the SHA-256 of a secret made on its own machine. The seed is
SHA-256 over that secret and the root of the first log that includes the announcement: the
operator does not know the secret, the college does not know the root.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

from guarantee.merkle import Hash

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A dossier in the frame, and the stratum that it stands in.

    Attributes:
        outcome: The decision's word when the draw was announced; "undecided" without one.
    """

    dossier: str
    model: str
    outcome: str


def seed_of(secret: bytes, root: Hash) -> bytes:
    """The 32-byte seed of a draw."""
    return sha256(secret + root).digest()


def drawn(cases: Iterable[Case], rate: Fraction, seed: bytes) -> tuple[str, ...]:
    """The dossiers that the seed draws, sorted: in each stratum, the share `rate`, rounded up.

    Args:
        cases: The frame, in any order.
        rate: Above 0, at most 1.
        seed: From `seed_of`.
    """
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in cases:
        strata[case.model, case.outcome].append(case.dossier)
    chosen: list[str] = []
    for dossiers in strata.values():
        ranked = sorted(dossiers, key=lambda dossier: sha256(seed + dossier.encode()).digest())
        chosen += ranked[: math.ceil(rate * len(dossiers))]
    return tuple(sorted(chosen))
