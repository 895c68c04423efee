"""Which cases are looked at: a version's latest ones, its first ones, or those of some days."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from guarantee import seen
from guarantee.abstention import ABSTAINED
from guarantee.card import MonitoringPolicy
from guarantee.ledger import Ledger
from guarantee.records import unpack_floats
from guarantee.seen import Seen, Span
from models.served import Flag, ServedModel
from monitoring.sample import Sample

KINDS: Final = ("hospital", "machine", "sex", "age_band")
"""Of subgroups, as `guarantee.bodies.Context` names them."""
_DAY_MS: Final = 86_400_000
_MOST_EARLIER: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Which of a version's cases a window takes; what is not said, the card's policy says.

    Attributes:
        last: At most so many, the latest.
        days: None older than so many days.
        since, until: Milliseconds since 1970, UTC; `until` is excluded.
    """

    last: int | None = None
    days: int | None = None
    since: int | None = None
    until: int | None = None

    def span(self, policy: MonitoringPolicy, now: int) -> tuple[Span, int | None]:
        """The inferences to read, and the most cases to take; none: all of them.

        Args:
            now: Milliseconds since 1970, UTC.
        """
        by_time = self.days is not None or self.since is not None
        days = self.days if self.last is not None or by_time else policy.window_days
        since = [] if self.since is None else [self.since]
        since += [] if days is None else [(self.until or now) - days * _DAY_MS]
        count = self.last if by_time or self.last is not None else policy.window_cases
        return Span(since=max(since, default=None), until=self.until), count


AS_THE_CARD_SAYS: Final = Bounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Some inferences of one version, one a patient.

    Attributes:
        sample: A row a patient.
        indices: Of the inferences, zero-based in the log, ascending.
        earlier: The version's first cases, before the window and of other patients.
    """

    sample: Sample
    indices: tuple[int, ...]
    earlier: Sample


def read(ledger: Ledger, served: ServedModel, bounds: Bounds = AS_THE_CARD_SAYS) -> Window:
    """The version's cases within these bounds, and its first cases before them.

    A patient's latest inference within the bounds alone: the tests take cases for independent,
    which one patient's are not.
    """
    policy = served.card.monitoring
    span, count = bounds.span(policy, ledger.now())
    patients: set[str] = set()
    cases = _Cases(served)
    for case in seen.inferences(
        ledger,
        model=served.name,
        version=served.version,
        span=span,
        once_a_patient=True,
        passing_over=patients,
    ):
        cases.add(case)
        if len(cases) == count:
            break
    indices = cases.indices()
    earlier = _Cases(served)
    if indices:
        # As many as a window has: enough to know what to expect, and seconds to read.
        most = min(len(indices), _MOST_EARLIER)
        for case in seen.inferences(
            ledger,
            model=served.name,
            version=served.version,
            span=Span(end=indices[0]),
            oldest_first=True,
            once_a_patient=True,
            passing_over=patients,
        ):
            earlier.add(case)
            if len(earlier) == most:
                break
    return Window(sample=cases.sample(), indices=indices, earlier=earlier.sample())


class _Cases:
    """Columns that grow by cases: a hundred thousand profiles are read once and kept once."""

    def __init__(self, served: ServedModel) -> None:
        self._names = served.contract.names
        self._profiles = bytearray()
        self._labels: list[str] = []
        self._confidence: list[float] = []
        self._flags: list[tuple[bool, bool]] = []
        self._groups: dict[str, list[str | None]] = {kind: [] for kind in KINDS}
        self._indices: list[int] = []

    def __len__(self) -> int:
        return len(self._indices)

    def add(self, case: Seen) -> None:
        """One more case."""
        self._profiles += memoryview(unpack_floats(case.profile)).cast("B")
        self._labels.append(case.answer.label)
        self._confidence.append(case.answer.probability)
        flags = case.answer.flags
        self._flags.append((Flag.OUT_OF_DISTRIBUTION.value in flags, ABSTAINED in flags))
        for kind, said in self._groups.items():
            said.append(getattr(case.context, kind))
        self._indices.append(case.index)

    def indices(self) -> tuple[int, ...]:
        """Of the inferences, in the log's order."""
        return tuple(sorted(self._indices))

    def sample(self) -> Sample:
        """The cases; in no order that means anything."""
        profiles = np.frombuffer(self._profiles, dtype=np.float32)
        flags = np.array(self._flags, dtype=np.bool_).reshape(len(self), 2)
        return Sample(
            names=self._names,
            features=profiles.reshape(len(self), len(self._names)),
            labels=tuple(self._labels),
            confidence=np.array(self._confidence, dtype=np.float32),
            unlike=flags[:, 0],
            abstained=flags[:, 1],
            groups={kind: tuple(said) for kind, said in self._groups.items()},
        )
