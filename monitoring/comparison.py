"""One column of two samples under one of Evidently's tests, and Evidently's run over many."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from monitoring import variation
from monitoring.errors import MonitoringError
from monitoring.findings import Column

if TYPE_CHECKING:
    from evidently.core.report import Snapshot
    from pandas import DataFrame, Series

_TAB: Final = "DATA DISTRIBUTION"


class AmbiguousColumn(MonitoringError):
    """A feature is called as what monitoring watches beside it; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A column of numbers; a row of one side has nothing to do with that row of the other.

    Attributes:
        expected: Known values of the reference, at least one.
        met: Known values of the window, at least one.
    """

    name: str
    test: str
    threshold: float
    expected: NDArray[np.float64]
    met: NDArray[np.float64]

    def shift(self) -> float | None:
        """See `Column.shift`."""
        spread = self.expected.std()
        away = self.met.mean() - self.expected.mean()
        return float(away / spread) if spread > 0 else None

    def chance(self) -> float:
        """The p-value that Evidently will find."""
        with _whatever_scipy_takes():
            return float(ks_2samp(self.expected, self.met).pvalue)

    def series(self) -> "tuple[Series[Any], Series[Any]]":
        """Reference and window as Evidently gets them: no row is a case, no edge a value.

        Each is sorted on its own. The reference's ends are rounded outwards, and what lies
        beyond them is put just outside: histograms have their edges there. Order and ties stay
        as they were, and the tests look at nothing else: no p-value changes.
        """
        from pandas import Series

        low, high = float(self.expected.min()), float(self.expected.max())
        wide = high - low
        step = 10.0 ** np.floor(np.log10(wide)) / 10 if wide > 0 else 1.0
        bottom, top = np.floor(low / step) * step, np.ceil(high / step) * step
        if wide == 0:
            bottom = top = low  # What every case of the reference has is no one's.

        def rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
            ends = np.where(values == low, bottom, np.where(values == high, top, values))
            outside = np.where(
                values < low, bottom - step, np.where(values > high, top + step, ends)
            )
            return np.sort(outside)

        return Series(rounded(self.expected)), Series(rounded(self.met))


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A column of words, otherwise as `Numbers`."""

    name: str
    test: str
    threshold: float
    expected: tuple[str, ...]
    met: tuple[str, ...]

    def shift(self) -> float | None:
        """See `Column.shift`."""
        return variation.total_variation(self.expected, self.met)

    def chance(self) -> float:
        """The p-value that Evidently will find by total variation."""
        return variation.p_value(*variation.counts(self.expected, self.met))

    def series(self) -> "tuple[Series[Any], Series[Any]]":
        """Reference and window as Evidently gets them: sorted, so that no row is a case."""
        from pandas import Series

        return (
            Series(sorted(map(_shown, self.expected))),
            Series(sorted(map(_shown, self.met))),
        )


Comparison = Numbers | Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What Evidently decided on each column, in the order asked.

    Attributes:
        snapshot: Its report, to show; neither it nor its page holds a case's value.
    """

    columns: tuple[Column, ...]
    snapshot: "Snapshot"

    def page(self) -> str:
        """The report as HTML, which loads nothing."""
        html: str = self.snapshot.get_html_str(as_iframe=False)
        return html


def _shown(name: str) -> str:
    """The name as Evidently gets it, who writes it into a script of its page as it is.

    A client names hospitals and machines: none of them shall end that script and begin another.
    """
    return name.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")


def decide(comparisons: Sequence[Comparison]) -> Decided:
    """Have Evidently decide on each column.

    Raises:
        AmbiguousColumn: A name stands for two columns.
    """
    named: dict[str, Comparison] = {}
    for one in comparisons:
        if named.setdefault(_shown(one.name), one) is not one:
            raise AmbiguousColumn(
                f"{one.name} is one of the model's features and a column of the monitoring's own: "
                "register the model with another name for it"
            )
    snapshot = _run(comparisons)
    columns = tuple(
        Column(
            name=named[(tested := result.to_dict()["config"])["column"]].name,
            test=tested["method"],
            p_value=float(result.value),
            threshold=tested["threshold"],
            shift=named[tested["column"]].shift(),
            drifted=any(verdict.status.value == "FAIL" for verdict in result.tests),
        )
        for result in snapshot.metric_results.values()
    )
    return Decided(columns=columns, snapshot=snapshot)


def _run(comparisons: Sequence[Comparison]) -> "Snapshot":
    with warnings.catch_warnings():
        # Evidently's imports meet what NumPy and Litestar have deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

    _teach_total_variation()
    # Named: left alone, Evidently changes its test with the sample's size.
    report = Report(
        [
            ValueDrift(column=_shown(one.name), method=one.test, threshold=one.threshold)
            for one in comparisons
        ],
        include_tests=True,
    )
    columns = DataDefinition(
        numerical_columns=[_shown(one.name) for one in comparisons if isinstance(one, Numbers)],
        categorical_columns=[_shown(one.name) for one in comparisons if isinstance(one, Words)],
    )
    expected, met = _frames(comparisons)
    with _whatever_scipy_takes():
        snapshot = report.run(
            Dataset.from_pandas(met, data_definition=columns),
            Dataset.from_pandas(expected, data_definition=columns),
        )
    for result in snapshot.metric_results.values():
        for widget in result.get_widgets():
            # The other tab plots means along the rows: of few rows, each is one case's value.
            widget.tabs = [tab for tab in widget.tabs if tab.title == _TAB]
    return snapshot


@contextmanager
def _whatever_scipy_takes() -> Iterator[None]:
    """Where SciPy's exact p-value is out of reach it takes the asymptotic one, and warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation", RuntimeWarning)
        yield


def _frames(comparisons: Sequence[Comparison]) -> "tuple[DataFrame, DataFrame]":
    from pandas import DataFrame

    both = {_shown(one.name): one.series() for one in comparisons}
    return (
        DataFrame({name: expected for name, (expected, _) in both.items()}),
        DataFrame({name: met for name, (_, met) in both.items()}),
    )


def _teach_total_variation() -> None:
    """Give Evidently a test by permutation that is quick and knows small p-values.

    Its own (TVD) shuffles rows a thousand times: a minute at 100,000 cases, and no p-value below
    0.001. Its test of two words (Fisher's) refuses samples of unequal size.
    """
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def total_variation(
        expected: "Series[str]", met: "Series[str]", _: ColumnType, threshold: float
    ) -> tuple[float, bool]:
        chance = variation.p_value(*variation.counts(tuple(expected), tuple(met)))
        return chance, chance <= threshold

    register_stattest(
        StatTest(
            name=variation.NAME,
            display_name="Total variation p_value",
            allowed_feature_types=[ColumnType.Categorical],
        ),
        total_variation,
    )
