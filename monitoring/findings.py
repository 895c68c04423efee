"""What a look at a window can find: about columns, never about a case."""

from dataclasses import dataclass

from guarantee.bodies import FeatureDrift


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column under its test.

    Attributes:
        test: As Evidently names it.
        p_value: Of the hypothesis that reference and window have one distribution.
        threshold: The column drifts at or below it.
        shift: How far: for numbers, the means' difference in the reference's standard
            deviations, None where the reference is constant; for words, the share of cases
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
class Tested:
    """What was tested in a window.

    Attributes:
        columns: Those that Evidently decided on.
        screened: How many features the screen looked at beside them.
        passed: Names that the screen would have had Evidently look at, but they were too many;
            each is beyond its threshold.
        skipped: What nothing is said about, each with its reason.
    """

    cases: int
    columns: tuple[Column, ...]
    screened: int = 0
    passed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def _tested(self) -> str:
        screened = f", {self.screened} screened" if self.screened else ""
        return f"{self.cases} cases, {len(self.columns)} columns tested{screened}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stable(Tested):
    """No column drifted."""

    def __str__(self) -> str:
        return f"stable: {self._tested()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted(Tested):
    """At least one column drifted."""

    @property
    def drifted(self) -> tuple[Column, ...]:
        """The drifted columns, the surest first."""
        columns = (column for column in self.columns if column.drifted)
        return tuple(sorted(columns, key=lambda column: column.p_value))

    @property
    def features(self) -> tuple[FeatureDrift, ...]:
        """The drifted columns, as a record tells them."""
        return tuple(
            FeatureDrift(
                feature=one.name,
                test=one.test,
                p_value=one.p_value,
                shift=one.shift,
                threshold=one.threshold,
            )
            for one in self.drifted
        )

    def __str__(self) -> str:
        names = ", ".join(column.name for column in self.drifted)
        return f"drift: {self._tested()}, moved: {names}"


Finding = Undecided | Stable | Drifted
