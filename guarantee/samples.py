"""Samples, drawn again from the log: what a verification makes of the college's draws."""

from dataclasses import dataclass, field

from guarantee.bodies import DrawAnnounced, SampleDrawn
from guarantee.draw import DAYS_TO_DRAW, FRAMED, Frame, SampleRefused, check_sample, is_overdue
from guarantee.findings import Report
from guarantee.rebuilt import Rebuilt
from guarantee.records import Header, MalformedRecord
from guarantee.source import Source


@dataclass(frozen=True, slots=True)
class Announced:
    """An announced draw, and where it stands."""

    index: int
    time: int
    body: DrawAnnounced


@dataclass(slots=True)
class Draws:
    """What a replay found of draws, by the id of their announcement.

    Attributes:
        announced: The announcements.
        samples: The record that revealed the secret, its index, and what it says.
        abandoned: The record that gave it up.
    """

    announced: dict[str, Announced] = field(default_factory=dict)
    samples: dict[str, tuple[str, int, SampleDrawn]] = field(default_factory=dict)
    abandoned: dict[str, str] = field(default_factory=dict)


def check_samples(
    source: Source, tree: Rebuilt, draws: Draws, *, latest: int, report: Report
) -> None:
    """Draw every sample again; name announcements that led to none, or with a secret used before.

    Args:
        latest: Milliseconds since 1970, UTC, of the log's latest record.
    """
    drawn = {key: draws.announced[key] for key in draws.samples if key in draws.announced}
    if drawn:
        # The frames are read again, so that a log without draws is not remembered for them.
        frame = _frame(
            source,
            min(announced.body.first_index for announced in drawn.values()),
            max(announced.index for announced in drawn.values()),
            tree,
        )
        for key, announced in drawn.items():
            record, index, drawing = draws.samples[key]
            try:
                cases = frame.cases(announced.body, before=announced.index)
                check_sample(announced.body, drawing, cases, tree.root_at(announced.index + 1))
            except SampleRefused as error:
                report.found(str(error), record=record, index=index)
    secrets: set[str] = set()
    for key, announced in draws.announced.items():
        if announced.body.secret_sha256 in secrets:
            report.found(
                "the secret of an earlier announcement: whoever had seen it could choose the cases",
                record=key,
                index=announced.index,
            )
        secrets.add(announced.body.secret_sha256)
        if key in draws.samples:
            continue
        if key in draws.abandoned:
            report.remark(
                f"record {draws.abandoned[key]}: the draw {key} was abandoned; its cases fall to "
                "the next"
            )
            continue
        missing = "a draw was announced and no sample was drawn"
        if is_overdue(announced.time, at=latest):
            report.found(
                f"{missing} in {DAYS_TO_DRAW} days, by the time of the last record",
                record=key,
                index=announced.index,
            )
        else:
            report.remark(f"record {key}: {missing}")


def _frame(source: Source, start: int, stop: int, tree: Rebuilt) -> Frame:
    frame = Frame()
    names = tuple(f'"type":"{kind}"'.encode() for kind in FRAMED)
    for entry in source.entries(start, stop):
        if entry.place not in tree.altered and any(name in entry.header for name in names):
            try:
                frame.add(entry.place, Header.decode(entry.header))
            except MalformedRecord:
                continue
    return frame
