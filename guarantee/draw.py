"""A sample of cases that nobody could choose, and anyone can draw again.

The college announces rate, frame and the SHA-256 of a secret made on its own machine. The seed is
SHA-256 over that secret and the root of the first log that includes the announcement: the
operator does not know the secret, the college does not know the root.

Frame and strata come from headers alone. A frame starts where the last draw of it ended, so that
nobody leaves cases out or takes a handful; and one announcement alone stands open over a case, so
that nobody who sees what two draw carries out the better one. A case whose patient was erased
stays in the frame: otherwise an erasure could take a case out of the sample. Drawn, it counts as
erased, and nobody reviews it.
"""

import math
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from hashlib import sha256
from typing import Final

from guarantee.bodies import CaseReviewed, DrawAnnounced, SampleDrawn
from guarantee.errors import GuaranteeError
from guarantee.merkle import Hash
from guarantee.records import Header, RecordType

SECRET_BYTES: Final = 32
UNDECIDED: Final = "undecided"
FRAMED: Final = (RecordType.INFERENCE_MADE, RecordType.DECISION_SIGNED)
"""The records that make a frame; a `Frame` passes over all others."""

DAYS_TO_DRAW: Final = 30
"""An announcement that led to no sample for longer is a finding: see `is_overdue`."""

_TO_DRAW_MS: Final = timedelta(days=DAYS_TO_DRAW) // timedelta(milliseconds=1)

_NEVER: Final = -1


class SampleRefused(GuaranteeError):
    """A sample, secret or review is not what the announcement leads to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A dossier in the frame, and the stratum that it stands in.

    Attributes:
        outcome: The decision's word when the draw was announced; "undecided" without one.
    """

    dossier: str
    model: str
    outcome: str


class Frame:
    """The cases that a draw may take, from the log's headers in their order.

    It remembers when each case was decided, so that one pass over the log gives the frame of
    every announcement in it, and holds about 100 bytes a case.
    """

    def __init__(self) -> None:
        self._dossiers: list[str] = []
        self._models: list[str] = []
        self._words: list[str] = []
        self._made = array("q")
        self._decided = array("q")
        self._undecided: dict[str, int] = {}

    def add(self, index: int, header: Header) -> None:
        """Take the next header of the log.

        Args:
            index: Its zero-based place, above all taken before.
            header: Of any type.
        """
        if header.type is RecordType.INFERENCE_MADE:
            self._undecided[header.id] = len(self._dossiers)
            self._dossiers.append(header.id)
            self._models.append(sys.intern(header.model or ""))
            self._words.append(UNDECIDED)
            self._made.append(index)
            self._decided.append(_NEVER)
        elif header.type is RecordType.DECISION_SIGNED:
            place = self._undecided.pop(header.dossier or "", None)
            if place is not None:
                self._words[place] = sys.intern(header.outcome)
                self._decided[place] = index

    def cases(self, announced: DrawAnnounced, *, before: int) -> list[Case]:
        """The frame of an announcement, as the log stood then.

        Args:
            announced: Its body, which names the first index and the model.
            before: The announcement's own index; later records change nothing.
        """
        return [
            Case(
                dossier=self._dossiers[place],
                model=self._models[place],
                outcome=self._words[place] if _NEVER < self._decided[place] < before else UNDECIDED,
            )
            for place, made in enumerate(self._made)
            if announced.first_index <= made < before
            and announced.model in (None, self._models[place])
        ]


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


def sample(
    announced: DrawAnnounced, secret: bytes, cases: Iterable[Case], root: Hash
) -> tuple[str, ...]:
    """The dossiers that an announcement and its secret draw.

    Args:
        announced: The announcement's body.
        secret: The 32 bytes that it holds the SHA-256 of.
        cases: `Frame.cases` of that announcement.
        root: Of the tree that ends with the announcement: of its index plus one entries.

    Raises:
        SampleRefused: It is another secret.
    """
    if sha256(secret).hexdigest() != announced.secret_sha256:
        raise SampleRefused("the secret is not the one whose SHA-256 was announced")
    return drawn(cases, Fraction(announced.rate), seed_of(secret, root))


def is_overdue(announced_at: int, *, at: int) -> bool:
    """Whether a sample should have been drawn by then; both in milliseconds since 1970, UTC."""
    return at - announced_at > _TO_DRAW_MS


def check_announcement(header: Header, announced: DrawAnnounced, *, start: int) -> None:
    """Check that an announcement's header and body speak of the same frame.

    Args:
        start: The index of the announcement that the header follows: the last of this frame
            whose sample was drawn; 0 where it follows none.

    Raises:
        SampleRefused: They name different models, or the frame starts elsewhere.
    """
    if header.model != announced.model:
        raise SampleRefused("the announcement's body names another model than its header")
    if announced.first_index != start:
        raise SampleRefused(
            f"the frame starts at {announced.first_index}, and not at {start}, where the last "
            "draw of it ended: cases are left out or taken twice"
        )


def check_sample(
    announced: DrawAnnounced, drawing: SampleDrawn, cases: Iterable[Case], root: Hash
) -> None:
    """Check that a recorded sample is what its announcement leads to; arguments as `sample`'s.

    Raises:
        SampleRefused: Another secret, or other cases: some were left out or chosen.
    """
    expected = sample(announced, bytes.fromhex(drawing.secret), cases, root)
    if drawing.dossiers != expected:
        other = len(set(expected) ^ set(drawing.dossiers))
        raise SampleRefused(f"the sample is not what secret and root draw: {other} cases differ")


def check_review(header: Header, review: CaseReviewed, drawing: SampleDrawn) -> None:
    """Check that a review is of a case that was drawn.

    Args:
        header: Of the `CaseReviewed`; it follows its announcement first.
        review: What it says.
        drawing: The sample of that announcement.

    Raises:
        SampleRefused: The case was not drawn, or the body's opinion is not the header's.
    """
    if header.dossier not in drawing.dossiers:
        raise SampleRefused("the reviewed case was not drawn")
    if review.opinion != header.outcome:
        raise SampleRefused("the body's opinion is another than its header's")
