"""What a verification says: findings where something is wrong, remarks where nothing is."""

from collections.abc import Callable
from dataclasses import dataclass, field

from guarantee.errors import GuaranteeError
from guarantee.merkle import Hash

VERIFIED, TAMPERED, COULD_NOT_CHECK = 0, 1, 2
"""The exit statuses of whoever verifies."""

Progress = Callable[[int, int], None]
"""Told how many records of how many were read; each pass over the log reads them all."""


class CouldNotCheck(GuaranteeError):
    """Something that the verification needs is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        record: The record's id, where one is to blame and its id is known.
        index: Its zero-based place in the log, where that is known.
    """

    problem: str
    record: str | None = None
    index: int | None = None

    def __str__(self) -> str:
        place = [] if self.index is None else [f"index {self.index}"]
        if self.record is not None:
            place.insert(0, f"record {self.record}")
        return printable(f"{', '.join(place)}: {self.problem}" if place else self.problem)


def printable(words: str) -> str:
    """Words that an altered log had a part in, escaped so that any terminal may show them."""
    if words.isprintable():
        return words
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in words
    )


@dataclass(slots=True)
class Report:
    """What a verification found.

    Attributes:
        anchor: What the log was compared with.
        kept: Whether that was a checkpoint kept outside the house.
        size: Records in the log, as its head says.
        findings: What is wrong; none where all is verified.
        remarks: What a reader should know, though nothing is wrong.
    """

    anchor: str
    kept: bool = False
    size: int = 0
    root: Hash = b""
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def found(self, problem: str, *, record: str | None = None, index: int | None = None) -> None:
        """Add a finding."""
        self.findings.append(Finding(problem=problem, record=record, index=index))

    def remark(self, words: str) -> None:
        """Add a remark."""
        self.remarks.append(printable(words))


def print_report(report: Report, write: Callable[[str], None] = print) -> int:
    """Write what was found; returns the exit status that says it."""
    for remark in report.remarks:
        write(f"remark: {remark}")
    for finding in report.findings:
        write(f"TAMPERING: {finding}")
    if report.findings:
        write(f"{len(report.findings)} findings in a log of {report.size} records")
        return TAMPERED
    if not report.size:
        write("could not check: the log holds no record yet")
        return COULD_NOT_CHECK
    write(f"verified: {report.size} records, root {report.root.hex()}")
    more = "" if report.kept else ": for more, compare with a checkpoint kept outside the house"
    write(report.anchor + more)
    return VERIFIED
