"""Whether a window of inferences differs from the reference: Evidently decides, column by column.

What leaves this file, as a finding or as HTML, is about columns, never about a case.
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from guarantee.card import MonitoringPolicy

if TYPE_CHECKING:
    from evidently.core.report import Snapshot
    from pandas import DataFrame

LABEL: Final = "predicted label"
CONFIDENCE: Final = "confidence in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The watched columns of some cases; a row need not be one case's.

    Attributes:
        names: Of the watched features.
        features: (cases, len(names)), NaN where missing.
        labels: (cases,), ids of the predicted labels; None in a reference that does not know
            them, and then untested.
        confidence: (cases,), probabilities of those labels; None likewise.
    """

    names: tuple[str, ...]
    features: NDArray[np.float32]
    labels: tuple[str, ...] | None
    confidence: NDArray[np.float32] | None

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ValueError: Lengths differ, or a name stands for two columns.
        """
        if self.features.shape != (len(self), len(self.names)):
            raise ValueError("features are not one row a case and one column a name")
        if self.labels is not None and len(self.labels) != len(self):
            raise ValueError("labels are not one a case")
        if self.confidence is not None and self.confidence.shape != (len(self),):
            raise ValueError("confidence is not one number a case")
        if len({*self.names, LABEL, CONFIDENCE}) < len(self.names) + 2:
            raise ValueError("a name stands for two columns")

    def __len__(self) -> int:
        """Cases."""
        return len(self.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column under its test.

    Attributes:
        test: As Evidently names it.
        p_value: Of the hypothesis that reference and window have one distribution.
        threshold: The column drifts at or below it.
        shift: How far: for numbers, the means' difference in the reference's standard
            deviations, None where the reference is constant; for labels, the share of cases
            that would have to change (total variation).
    """

    name: str
    test: str
    p_value: float
    threshold: float
    shift: float | None
    drifted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """Too few cases, one a patient, for an answer, which is not "no drift"."""

    cases: int
    needed: int

    def __str__(self) -> str:
        return f"undecided: {self.cases} cases, {self.needed} needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stable:
    """No column drifted.

    Attributes:
        columns: Those tested.
        skipped: Features that too few cases of the window had: nothing is said about them.
    """

    cases: int
    columns: tuple[Column, ...]
    skipped: tuple[str, ...]

    def __str__(self) -> str:
        return f"stable: {self.cases} cases, {len(self.columns)} columns tested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted:
    """At least one column drifted.

    Attributes:
        columns: Those tested, the drifted among them.
        skipped: Features that too few cases of the window had: nothing is said about them.
    """

    cases: int
    columns: tuple[Column, ...]
    skipped: tuple[str, ...]

    @property
    def drifted(self) -> tuple[Column, ...]:
        """The drifted columns, the surest first."""
        columns = (column for column in self.columns if column.drifted)
        return tuple(sorted(columns, key=lambda column: column.p_value))

    def __str__(self) -> str:
        names = ", ".join(column.name for column in self.drifted)
        return f"drift: {self.cases} cases, {len(self.columns)} columns tested, moved: {names}"


Finding = Undecided | Stable | Drifted


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What Evidently found in a window, and its report.

    Attributes:
        html: One page that holds no case's value and loads nothing.
    """

    finding: Stable | Drifted
    html: str


def examine(reference: Sample, window: Sample, policy: MonitoringPolicy) -> Examined | Undecided:
    """Test every watched column of `window` against `reference`, at the policy's false alarms.

    Raises:
        ValueError: The samples watch different features, or more than the policy allows for.
    """
    pair = _Pair.of(reference, window, policy)
    if isinstance(pair, Undecided):
        return pair
    snapshot = _run(pair, policy)
    columns = tuple(
        Column(
            name=(tested := result.to_dict()["config"])["column"],
            test=tested["method"],
            p_value=float(result.value),
            threshold=tested["threshold"],
            shift=pair.shift(tested["column"]),
            drifted=any(verdict.status.value == "FAIL" for verdict in result.tests),
        )
        for result in snapshot.metric_results.values()
    )
    kind = Drifted if any(column.drifted for column in columns) else Stable
    return Examined(
        finding=kind(cases=len(window), columns=columns, skipped=pair.skipped),
        html=snapshot.get_html_str(as_iframe=False),
    )


def decide(reference: Sample, window: Sample, policy: MonitoringPolicy) -> Finding:
    """What `examine` finds, without the report."""
    examined = examine(reference, window, policy)
    return examined if isinstance(examined, Undecided) else examined.finding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """Reference and window, by column, where both know enough of it; no rows any more.

    Attributes:
        numbers: Name to the known values of the reference and of the window.
        labels: Of the reference and of the window.
        skipped: Features that too few cases know.
    """

    numbers: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    labels: tuple[tuple[str, ...], tuple[str, ...]] | None
    skipped: tuple[str, ...]

    @classmethod
    def of(cls, reference: Sample, window: Sample, policy: MonitoringPolicy) -> "_Pair | Undecided":
        if len(window) < policy.least_cases:
            return Undecided(cases=len(window), needed=policy.least_cases)
        if reference.names != window.names:
            raise ValueError("reference and window watch different features")
        if len(window.names) > policy.watched_features:
            raise ValueError("more features than the policy shares its false alarms among")
        numbers = {
            name: (_known(reference.features[:, place]), _known(window.features[:, place]))
            for place, name in enumerate(window.names)
        }
        known = {name: min(map(len, columns)) for name, columns in numbers.items()}
        skipped = tuple(name for name, cases in known.items() if cases < policy.least_cases)
        for name in skipped:
            del numbers[name]
        if reference.confidence is not None and window.confidence is not None:
            numbers[CONFIDENCE] = (_known(reference.confidence), _known(window.confidence))
        labels = None
        if reference.labels is not None and window.labels is not None:
            labels = (reference.labels, window.labels)
        if not numbers and labels is None:
            return Undecided(cases=max(known.values(), default=0), needed=policy.least_cases)
        return cls(numbers=numbers, labels=labels, skipped=skipped)

    def shift(self, name: str) -> float | None:
        """See `Column.shift`."""
        if name == LABEL and self.labels is not None:
            expected, met = self.labels
            return 0.5 * sum(
                abs(expected.count(label) / len(expected) - met.count(label) / len(met))
                for label in {*expected, *met}
            )
        known, seen = self.numbers[name]
        spread = known.std()
        return float((seen.mean() - known.mean()) / spread) if spread > 0 else None

    def frames(self) -> "tuple[DataFrame, DataFrame]":
        """Reference and window as Evidently gets them: no row is a case, no edge a value.

        Every column is sorted on its own. What lies beyond the reference's range is put just
        outside it, so that the edges of histograms come from the reference. The tests look
        at one column at a time, by ranks against the reference: no p-value changes.
        """
        from pandas import DataFrame, Series

        expected: dict[str, Series] = {}
        met: dict[str, Series] = {}
        for name, (known, seen) in self.numbers.items():
            low, high = known.min(), known.max()
            margin = (high - low) / 20 if high > low else 1.0
            inside = np.where(seen > high, high + margin, np.where(seen < low, low - margin, seen))
            expected[name], met[name] = Series(np.sort(known)), Series(np.sort(inside))
        if self.labels is not None:
            expected[LABEL], met[LABEL] = (Series(sorted(labels)) for labels in self.labels)
        return DataFrame(expected), DataFrame(met)


def _known(column: NDArray[np.float32]) -> NDArray[np.float64]:
    # By way of float32 on both sides: else a floor that half of the cases share, as assays have,
    # would be one number in the reference and another in the window.
    single = column.astype(np.float32)
    return single[np.isfinite(single)].astype(np.float64)


def _run(pair: _Pair, policy: MonitoringPolicy) -> "Snapshot":
    with warnings.catch_warnings():
        # Evidently's imports meet what NumPy and Litestar have deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

    # Named: left alone, Evidently changes its test with the sample's size.
    tests: dict[str, str] = dict.fromkeys(pair.numbers, policy.numeric_test)
    if pair.labels is not None:
        tests[LABEL] = policy.categorical_test
    report = Report(
        [
            ValueDrift(column=name, method=test, threshold=policy.threshold)
            for name, test in tests.items()
        ],
        include_tests=True,
    )
    columns = DataDefinition(
        numerical_columns=list(pair.numbers),
        categorical_columns=[name for name in tests if name not in pair.numbers],
    )
    expected, met = pair.frames()
    snapshot = report.run(
        Dataset.from_pandas(met, data_definition=columns),
        Dataset.from_pandas(expected, data_definition=columns),
    )
    for result in snapshot.metric_results.values():
        for widget in result.get_widgets():
            # The other tab plots means along the rows: of few rows, each is one case's value.
            widget.tabs = [tab for tab in widget.tabs if tab.title == "DATA DISTRIBUTION"]
    return snapshot
