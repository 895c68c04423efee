"""An update beside the version before, as one page for the college: aggregates alone.

In French and in English; it holds what it shows, and fetches nothing.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final

from guarantee.bodies import Learned
from guarantee.card import Card
from guarantee.home import Home
from models.charts import both
from models.evaluation import Estimate
from monitoring.evolution import Evolution

_POLICY: Final = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
)
_STYLE: Final = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1b2a41;max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2rem}h3{font-size:1rem;margin:1rem 0 .2rem}
.notice{background:#fff3d6;border-left:4px solid #c2571a;padding:.5rem .8rem}
table{border-collapse:collapse}td,th{padding:.2rem .6rem;border-bottom:1px solid #dde3ea;
text-align:left}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
#fr:checked~main [lang=en],#en:checked~main [lang=fr]{display:none}
input:checked+label{font-weight:700;text-decoration:underline}
"""
_WIDE: Final = 320
_SETS: Final = {
    "locked": ("Cas verrouillés, dont aucune version n’apprend", "Locked cases, learned by none"),
    "window": ("Dernières issues confirmées", "The latest confirmed outcomes"),
}
_KINDS: Final = {
    "hospital": ("hôpital", "hospital"),
    "site": ("hôpital", "hospital"),
    "machine": ("appareil", "machine"),
    "sex": ("sexe", "sex"),
    "age_band": ("âge", "age"),
    "age": ("âge", "age"),
    "country": ("pays", "country"),
    "sample type": ("prélèvement", "sample"),
    "year": ("année", "year"),
}


def keep(home: Home, html: str) -> Path:
    """Write the page, named by its digest, beside monitoring's reports."""
    content = html.encode()
    path = home.monitoring / f"{sha256(content).hexdigest()}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def page(
    card: Card,
    version: str,
    learned: Learned,
    reasons: Sequence[str],
    *,
    locked: Evolution,
    window: Evolution,
) -> str:
    """The whole HTML document.

    Args:
        reasons: Which bounds the update does not keep; none: it answers.
    """
    title = f"{card.name} {learned.base} → {version}"
    notice = card.regulatory.notice()
    verdict = (
        both("Dans le protocole : cette version répond.", "Inside the protocol: it answers.")
        if not reasons
        else both("Au-delà du protocole : le collège décide.", "Beyond it: the college decides.")
        + "<ul>" + "".join(f"<li>{escape(reason)}</li>" for reason in reasons) + "</ul>"
    )  # fmt: skip
    from_what = both(
        f"Apprise de {learned.cases} cas, dont {learned.new_cases} nouveaux.",
        f"Learned from {learned.cases} cases, {learned.new_cases} of them new.",
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html><head><meta charset="utf-8"/>',
            _POLICY,
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            '<input type="radio" name="language" id="fr" checked=""/>',
            '<label for="fr" lang="fr">Français</label>',
            '<input type="radio" name="language" id="en"/>',
            '<label for="en" lang="en">English</label>',
            f"<main><h1>{escape(title)}</h1>",
            "" if notice is None else f"<p>{both(notice.fr, notice.en)}</p>",
            f'<div class="notice">{verdict}</div>',
            f"<p>{from_what} SHA-256 <code>{learned.cases_sha256}</code></p>",
            *_section("locked", locked),
            *_section("window", window),
            "</main></body></html>",
        ]
    )


def _section(name: str, found: Evolution) -> Iterable[str]:
    yield f"<h2>{both(*_SETS[name])}</h2>"
    if found.before is None or found.after is None:
        yield f"<p>{both('Aucun cas.', 'No case.')}</p>"
        return
    difference = found.difference
    yield _table(
        ("", ("Exactitude (95 %)", "Accuracy (95 %)"), ""),
        [
            (both("avant", "before"), _share(found.before), _bar(found.before)),
            (both("après", "after"), _share(found.after), _bar(found.after)),
        ],
    )
    yield "<p>" + both(
        f"{difference.cases} cas ; {found.gained} gagnés, {found.lost} perdus, "
        f"{difference.flipped} reçoivent une autre réponse.",
        f"{difference.cases} cases; {found.gained} gained, {found.lost} lost, "
        f"{difference.flipped} get another answer.",
    ) + "</p>"  # fmt: skip
    if found.flips:
        yield f"<h3>{both('Réponses qui changent', 'Answers that change')}</h3>"
        yield _table(
            (("avant", "before"), ("après", "after"), ("cas", "cases"), ("gagnés", "gained"),
             ("perdus", "lost")),
            [
                (escape(flip.before), escape(flip.after), str(flip.cases), str(flip.gained),
                 str(flip.lost))
                for flip in found.flips
            ],
        )  # fmt: skip
    if found.groups:
        yield f"<h3>{both('Groupes', 'Groups')}</h3>"
        yield _table(
            ("", ("cas", "cases"), ("avant", "before"), ("après", "after"), ""),
            [
                (
                    f"{both(*_KINDS.get(group.kind, (group.kind,) * 2))} {escape(group.name)}",
                    str(group.cases), _share(group.before), _share(group.after), _bar(group.after),
                )
                for group in found.groups
            ],
        )  # fmt: skip
    yield f"<h3>{both('Sur quoi reposent les explications', 'What explanations rest on')}</h3>"
    moved = found.moved or 0
    yield "<p>" + both(
        f"{100 * moved:.0f} % de leur poids porte sur d’autres caractéristiques ; le plus :",
        f"{moved:.0%} of their weight lies on other features than before; most:",
    ) + "</p>"  # fmt: skip
    yield _table(
        (("caractéristique", "feature"), ("avant", "before"), ("après", "after")),
        [
            (escape(weight.feature), f"{weight.before:.2%}", f"{weight.after:.2%}")
            for weight in found.weights
        ],
    )


def _table(heads: Sequence[str | tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(
        f"<th>{escape(one) if isinstance(one, str) else both(*one)}</th>" for one in heads
    )
    body = "".join(
        "<tr>" + "".join(f'<td class="n">{cell}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} – {estimate.high:.3f})"


def _bar(estimate: Estimate) -> str:
    """The interval, and the share in it, on a line from 0 to 1."""
    low, value, high = (_WIDE * part for part in (estimate.low, estimate.value, estimate.high))
    return (
        f'<svg width="{_WIDE}" height="14" role="img" aria-label="{estimate.value:.3f}">'
        f'<line x1="0" y1="7" x2="{_WIDE}" y2="7" stroke="#c8d0da"/>'
        f'<line x1="{low:.1f}" y1="7" x2="{high:.1f}" y2="7" stroke="#0b6e8a" stroke-width="3"/>'
        f'<circle cx="{value:.1f}" cy="7" r="4" fill="#0b6e8a"/></svg>'
    )
