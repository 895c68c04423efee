"""Pictures of an evaluation as SVG: aggregates alone, in French and in English at once."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from models.atlas import Atlas
from models.evaluation import Estimate, Judged, ReliabilityBin, RiskPoint, Subgroup

_INK: Final = "#1b2a41"
_FAINT: Final = "#c8d0da"
_MAIN: Final = "#0b6e8a"
_OTHER: Final = "#c2571a"


def both(fr: str, en: str) -> str:
    """Words that the page shows in the language chosen; escaped here."""
    if fr == en:
        return escape(fr)
    return f'<span lang="fr">{escape(fr)}</span><span lang="en">{escape(en)}</span>'


def _text(x: float, y: float, fr: str, en: str | None = None, **attributes: str) -> str:
    styled = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    place = f'x="{x:.1f}" y="{y:.1f}"{styled}'
    if en is None or en == fr:
        return f"<text {place}>{escape(fr)}</text>"
    return f'<text lang="fr" {place}>{escape(fr)}</text><text lang="en" {place}>{escape(en)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, width: float) -> str:
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}"/>'
    )


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}" stroke="{_INK}"/>'


def _svg(width: float, height: float, fr: str, en: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" role="img" aria-label="{escape(f"{fr} / {en}", quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


_SIDE: Final = 260
_LEFT: Final = 56
_TOP: Final = 12


def _axes(fr: tuple[str, str], en: tuple[str, str], highest: float) -> list[str]:
    """A square from 0 to 100 % across, and from 0 to `highest` upwards."""
    parts = []
    for step in range(6):
        x, y = _LEFT + _SIDE * step / 5, _TOP + _SIDE * (1 - step / 5)
        parts += [
            _line((x, _TOP), (x, _TOP + _SIDE), _FAINT, 0.5),
            _line((_LEFT, y), (_LEFT + _SIDE, y), _FAINT, 0.5),
            _text(x, _TOP + _SIDE + 14, f"{20 * step}", text_anchor="middle"),
            _text(_LEFT - 5, y + 4, f"{100 * highest * step / 5:.3g}", text_anchor="end"),
        ]
    middle = _TOP + _SIDE / 2
    return [
        *parts,
        _text(_LEFT + _SIDE / 2, _TOP + _SIDE + 30, fr[0], en[0], text_anchor="middle"),
        _text(12, middle, fr[1], en[1], text_anchor="middle", transform=f"rotate(-90 12 {middle})"),
    ]


def reliability(bins: Sequence[ReliabilityBin]) -> str:
    """Accuracy with its interval against mean confidence, by bins of as many cases."""

    def at(confidence: float, accuracy: float) -> tuple[float, float]:
        return _LEFT + _SIDE * confidence, _TOP + _SIDE * (1 - accuracy)

    parts = _axes(
        ("confiance moyenne (%)", "exactitude (%)"), ("mean confidence (%)", "accuracy (%)"), 1
    )
    parts.append(_line(at(0, 0), at(1, 1), _OTHER, 1))
    for found in bins:
        low, high = (
            at(found.confidence, found.accuracy.low),
            at(found.confidence, found.accuracy.high),
        )
        parts += [
            _line(low, high, _MAIN, 1),
            _dot(*at(found.confidence, found.accuracy.value), _MAIN),
        ]
    return _svg(
        _LEFT + _SIDE + 14,
        _TOP + _SIDE + 38,
        "Diagramme de fiabilité",
        "Reliability diagram",
        parts,
    )


def risk_against_coverage(points: Sequence[RiskPoint]) -> str:
    """Share of wrong answers with its interval, where only the surest cases are answered."""
    # The surest cases are few, so their intervals are wide: they may leave the picture.
    steep = max([0.05, *(point.risk.high for point in points[len(points) // 4 :])])
    highest = math.ceil(20 * steep) / 20

    def at(coverage: float, risk: float) -> str:
        height = _TOP + _SIDE * (1 - min(risk / highest, 1))
        return f"{_LEFT + _SIDE * coverage:.1f},{height:.1f}"

    band = [at(point.coverage, point.risk.high) for point in points]
    band += [at(point.coverage, point.risk.low) for point in reversed(points)]
    line = [at(point.coverage, point.risk.value) for point in points]
    return _svg(
        _LEFT + _SIDE + 14,
        _TOP + _SIDE + 38,
        "Risque selon la couverture",
        "Risk against coverage",
        [
            *_axes(
                ("cas auxquels il répond (%)", "réponses fausses (%)"),
                ("cases answered (%)", "wrong answers (%)"),
                highest,
            ),
            f'<polygon points="{" ".join(band)}" fill="{_MAIN}" fill-opacity="0.18"/>',
            f'<polyline points="{" ".join(line)}" fill="none" stroke="{_MAIN}" stroke-width="2"/>',
        ],
    )


def confusion(judged: Judged) -> str:
    """Answers by truth, each row by its share; a cell's tip holds its count."""
    rows = [place for place, row in enumerate(judged.confusion) if sum(row)]
    columns = range(len(judged.labels))
    cell = 26 if len(judged.labels) <= 15 else 17
    margin = 12 + 6.2 * max(len(label[:24]) for label in judged.labels)
    width, height = margin + cell * len(columns) + 8, margin + cell * len(rows) + 8
    parts = []
    for down, truth in enumerate(rows):
        total = sum(judged.confusion[truth])
        y = margin + cell * down
        parts.append(
            _text(margin - 5, y + cell / 2 + 4, judged.labels[truth][:24], text_anchor="end")
        )
        for across, answer in enumerate(columns):
            x, count = margin + cell * across, judged.confusion[truth][answer]
            shade = 0.06 + 0.94 * count / total if count else 0
            colour = _MAIN if truth == answer else _OTHER
            tip = escape(f"{judged.labels[truth]} → {judged.labels[answer]}: {count} / {total}")
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell}" height="{cell}" fill="{colour}" '
                f'fill-opacity="{shade:.3f}" stroke="{_FAINT}" stroke-width="0.4">'
                f"<title>{tip}</title></rect>"
            )
            if count:
                white = ' fill="#fff"' if shade > 0.55 else ""
                parts.append(
                    f'<text x="{x + cell / 2:.1f}" y="{y + cell / 2 + 3:.1f}" font-size="8" '
                    f'text-anchor="middle" pointer-events="none"{white}>{count}</text>'
                )
    for across, answer in enumerate(columns):
        x = margin + cell * (across + 0.5) + 4
        parts.append(
            _text(
                x, margin - 5, judged.labels[answer][:24],
                transform=f"rotate(-90 {x:.1f} {margin - 5:.1f})",
            )
        )  # fmt: skip
    return _svg(width, height, "Matrice de confusion", "Confusion matrix", parts)


def forest(groups: Sequence[tuple[Subgroup, str, str]], whole: Estimate) -> str:
    """Accuracy with its interval for each group; the bar is what its labels lead to expect.

    Args:
        groups: Each with its name in French and in English.
    """
    row, left, wide = 18, 230, 340
    lowest = min([whole.low, *(group.accuracy.low for group, _, _ in groups)])
    low = math.floor(5 * lowest) / 5

    def at(share: float) -> float:
        return left + wide * (share - low) / (1 - low)

    height = row * len(groups) + 34
    bottom = height - 24.0
    parts = []
    for step in range(5):
        tick = low + (1 - low) * step / 4
        parts += [
            _line((at(tick), 4), (at(tick), bottom), _FAINT, 0.5),
            _text(at(tick), height - 8, f"{100 * tick:.3g} %", text_anchor="middle"),
        ]
    parts.append(_line((at(whole.value), 4), (at(whole.value), bottom), _OTHER, 1))
    for down, (group, fr, en) in enumerate(groups):
        y = row * down + 14
        colour = _FAINT if group.small else _MAIN
        expected = at(max(group.expected, low))
        parts += [
            _text(left - 8, y + 4, fr[:34], en[:34], text_anchor="end"),
            _line((at(group.accuracy.low), y), (at(group.accuracy.high), y), colour, 2),
            _dot(at(group.accuracy.value), y, colour),
            _line((expected, y - 6), (expected, y + 6), _INK, 1),
            _text(left + wide + 12, y + 4, f"n = {group.cases}"),
        ]
    return _svg(left + wide + 90, height, "Exactitude par groupe", "Accuracy by group", parts)


def importance(names: Sequence[str], weights: Sequence[float]) -> str:
    """How much each feature moves the answers on average, in log-odds; no case is drawn."""
    row, left, wide = 16, 190, 340
    most = max([*weights, 1e-12])
    parts = []
    for down, (name, weight) in enumerate(zip(names, weights, strict=True)):
        y = row * down + 4
        length = wide * weight / most
        bar = f'<rect x="{left}" y="{y}" width="{length:.1f}" height="11" fill="{_MAIN}"/>'
        parts += [
            _text(left - 8, y + 10, name[:30], text_anchor="end"),
            bar,
            _text(left + length + 6, y + 10, f"{weight:.3g}"),
        ]
    return _svg(
        left + wide + 70, row * len(names) + 8, "Poids des mesures", "Weight of features", parts
    )


_RADIUS: Final = 250
# Around the circle, for the labels' names.
_RIM: Final = 120
# Neighbours on the circle differ in hue, and the hues come round again beyond a dozen.
_HUES: Final = 12
_STILL: Final = 1e-3  # across, what is neither right nor left


def atlas(drawn: Atlas, labels: Sequence[str], *, answer: tuple[float, float] | None = None) -> str:
    """Labels on a circle and cases between them, each in its label's colour.

    Args:
        labels: (n_classes,), ids in the order of the atlas.
        answer: Where an answer lies, see `Atlas.place`; None to mark none.
    """
    centre = _RADIUS + _RIM
    around = np.argsort(np.arctan2(drawn.places[:, 1], drawn.places[:, 0]) % (2 * np.pi))
    colours = {
        int(label): f"hsl({360 * (5 * place % _HUES) // _HUES} 65% {35 + 15 * (place % 2)}%)"
        for place, label in enumerate(around)
    }

    def at(point: Sequence[float], reach: float = 1) -> tuple[float, float]:
        return centre + _RADIUS * reach * point[0], centre - _RADIUS * reach * point[1]

    parts = [f'<circle cx="{centre}" cy="{centre}" r="{_RADIUS}" fill="none" stroke="{_FAINT}"/>']
    for case, label in zip(drawn.cases, drawn.truth, strict=True):
        x, y = at(case)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colours[int(label)]}" '
            'fill-opacity="0.6"/>'
        )
    for label, place in enumerate(drawn.places):
        x, y = at(place, 1.05)
        parts.append(
            _text(
                x, y + 4, labels[label][:24], fill=colours[label], font_size="11",
                text_anchor="start" if place[0] > _STILL
                else "end" if place[0] < -_STILL else "middle",
            )
        )  # fmt: skip
    if answer is not None:
        x, y = at(answer)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="none" stroke="{_INK}" '
            'stroke-width="3"/>'
        )
    side = 2 * centre
    return _svg(side, side, "Les cas entre les réponses", "Cases between the answers", parts)
