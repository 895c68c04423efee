"""An explanation drawn: from what the model starts at to its answer, one step a feature."""

import zlib
from html import escape
from typing import Final, NamedTuple

import numpy as np

from guarantee.card import Language
from models.account import Account

_FOR: Final = "#0b6e8a"
_AGAINST: Final = "#c2571a"
_WHOLE: Final = "#44546a"
_INK: Final = "#1b2a41"
_FAINT: Final = "#c8d0da"
_ROW, _LEFT, _WIDE, _RIGHT, _TOP = 26, 410, 360, 70, 54
_MOST_SIGNS: Final = 64


class _Step(NamedTuple):
    """One bar: a feature with its value, its contribution and its sentence."""

    name: str
    size: float
    sentence: str


def draw(account: Account) -> str:
    """The account as one SVG document, without scripts, styles or anything from elsewhere.

    Read aloud, it is the account's title and sentences; its colours only repeat its signs.
    """
    fr = account.language is Language.FRENCH
    reasons = sorted(
        (*account.speaking_for, *account.speaking_against),
        key=lambda one: -abs(one.contribution),
    )
    steps = [_Step(one.named, one.contribution, one.sentence) for one in reasons]
    if account.remainder:
        others = "autres caractéristiques" if fr else "other features"
        steps.append(_Step(others, account.rest, account.remainder))
    starts = account.base + np.concatenate([[0.0], np.cumsum([one.size for one in steps])])
    low, high = float(min(*starts, account.total)), float(max(*starts, account.total))
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return _LEFT + _WIDE * (value - low) / span

    height = _TOP + _ROW * (len(steps) + 2) + 34
    unit = _unit(account, fr=fr)
    start, answer = ("départ", "réponse") if fr else ("start", "answer")
    end = _TOP + _ROW * (len(steps) + 1)
    parts = [
        f'<text x="12" y="22" font-size="15" font-weight="600">{escape(_title(account))}</text>',
        f'<text x="12" y="42">{escape(unit)}</text>',
        _whole(start, account.base, at(account.base), _TOP, fr=fr),
        *(
            _bar(step, at(before), at(before + step.size), _TOP + _ROW * row, fr=fr)
            for row, (step, before) in enumerate(zip(steps, starts[:-1], strict=True), 1)
        ),
        _whole(answer, account.total, at(account.total), end, fr=fr),
    ]
    parts.append(f'<text x="12" y="{height - 12}">{escape(account.caution)}</text>')
    width = _LEFT + _WIDE + _RIGHT
    title, spoken = _title(account), " ".join(account.sentences)
    # Two pictures may stand on one page.
    own = f"waterfall-{zlib.crc32(f'{title} {spoken}'.encode()):08x}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" lang="{account.language}" role="img" '
        f'aria-labelledby="{own}-title {own}-desc" font-family="system-ui, sans-serif" '
        f'font-size="12" fill="{_INK}">'
        f'<title id="{own}-title">{escape(title)}</title>'
        f'<desc id="{own}-desc">{escape(spoken)}</desc>'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _title(account: Account) -> str:
    label = account.label.words.in_language(account.language)
    if account.other is None:
        return label
    other = account.other.words.in_language(account.language)
    between = "plutôt que" if account.language is Language.FRENCH else "rather than"
    return f"{label} {between} {other}"


def _unit(account: Account, *, fr: bool) -> str:
    if account.other is None:
        return (
            "marge du modèle, en logarithme de cotes, avant calibration"
            if fr
            else "the model's margin, in log-odds, before calibration"
        )
    return (
        "logarithme de cotes de l’un contre l’autre, avant calibration"
        if fr
        else "log-odds of one against the other, before calibration"
    )


def _whole(name: str, value: float, x: float, y: int, *, fr: bool) -> str:
    return (
        f'<text x="{_LEFT - 10}" y="{y + 16}" text-anchor="end" font-weight="600">{name}</text>'
        f'<line x1="{x:.1f}" y1="{y + 2}" x2="{x:.1f}" y2="{y + _ROW - 2}" stroke="{_WHOLE}" '
        'stroke-width="3"/>'
        f'<text x="{x + 6:.1f}" y="{y + 16}">{_signed(value, fr=fr)}</text>'
    )


def _bar(step: _Step, start: float, end: float, y: int, *, fr: bool) -> str:
    name = step.name
    shown = name if len(name) <= _MOST_SIGNS else f"{name[: _MOST_SIGNS - 1]}…"
    left, width = min(start, end), max(abs(end - start), 1.0)
    return (
        f"<g><title>{escape(step.sentence)}</title>"
        f'<text x="{_LEFT - 10}" y="{y + 16}" text-anchor="end">{escape(shown)}</text>'
        f'<line x1="{start:.1f}" y1="{y - 4}" x2="{start:.1f}" y2="{y + 4}" stroke="{_FAINT}"/>'
        f'<rect x="{left:.1f}" y="{y + 4}" width="{width:.1f}" height="{_ROW - 8}" '
        f'fill="{_FOR if step.size > 0 else _AGAINST}"/>'
        f'<text x="{left + width + 6:.1f}" y="{y + 16}">{_signed(step.size, fr=fr)}</text></g>'
    )


def _signed(value: float, *, fr: bool) -> str:
    text = f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
    return text.replace(".", ",") if fr else text
