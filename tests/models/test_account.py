"""An explanation told in words, and drawn."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from guarantee.card import Code, Label, Language, Text
from models import waterfall
from models.account import Account, account
from models.atlas import Atlas
from models.contract import Bounds, Feature, Meaning
from models.reference import LEVELS, Reference
from models.served import ServedModel
from tests.models.conftest import floats

FEATURES = (
    Feature(
        name="thalach",
        unit="/min",
        words=Text(fr="fréquence cardiaque", en="heart rate"),
        possible=Bounds(low=0),
    ),
    Feature(
        name="cp",
        unit="1",
        words=Text(fr="douleur", en="pain"),
        codes=(Meaning(code=4, words=Text(fr="aucune", en="none")),),
    ),
    Feature(name="age", unit="a", unit_words=Text(fr="ans", en="years")),
    Feature(name="chol", unit="mg/dL"),
    Feature(name="gene <x> & co", unit="1"),
)
VALUES = floats([120.5, 4, 60, np.nan, 5])
CONTRIBUTIONS = floats([0.5, -0.25, 0.125, 0.0625, 0])


def label(label_id: str, fr: str, en: str) -> Label:
    return Label(
        id=label_id, words=Text(fr=fr, en=en), codes=(Code(system="CIM-10", code="I25.1"),)
    )


PRESENT, ABSENT = label("present", "sténose", "stenosis"), label("absent", "rien", "nothing")


def reference() -> Reference:
    # Of every feature, uniform from 0 to 200 but for ages, uniform from 0 to 100.
    quantiles = np.tile(200 * LEVELS, (len(FEATURES), 1)).astype(np.float32)
    quantiles[2] /= 2
    quantiles[4] = np.nan
    count = len(FEATURES)
    return Reference(
        quantiles=quantiles,
        missing_rates=np.zeros(count, dtype=np.float32),
        whole=np.zeros(count, dtype=np.bool_),
        priors=floats([0.5, 0.5]).astype(np.float64),
        answered=floats([0.5, 0.5]).astype(np.float64),
        importance=np.ones(count, dtype=np.float32),
        most_outside=1.0,
        profiles=100,
        atlas=Atlas.of(np.eye(2), np.arange(2), seed=0),
    )


def told(
    language: Language = Language.ENGLISH,
    *,
    other: Label | None = None,
    count: int = 10,
    values: tuple[float, ...] = tuple(VALUES),
) -> Account:
    return account(
        features=FEATURES,
        values=floats(values),
        contributions=CONTRIBUTIONS,
        base=-1.0,
        total=float(-1 + CONTRIBUTIONS.sum()),
        reference=reference(),
        label=PRESENT,
        other=other,
        temperature=0.5,
        probability=0.837,
        language=language,
        count=count,
    )


def test_a_clinician_reads_feature_value_unit_standing_direction_and_strength() -> None:
    first, age, absent = told().speaking_for
    assert first.sentence == (
        "Heart rate: 120 /min, a usual value. "
        "Speaks for “stenosis” (very strongly, 53 % of the whole weight)."
    )
    assert age.sentence.startswith("Age: 60 years, a usual value.")
    assert absent.sentence.startswith("Chol: not given. Speaks for “stenosis” (moderately, 6 %")
    (pain,) = told().speaking_against
    assert pain.sentence.startswith("Pain: none. Speaks against “stenosis” (very strongly, 26 %")


def test_the_same_is_said_in_french() -> None:
    share = "{}\N{NARROW NO-BREAK SPACE}%".format
    assert told(Language.FRENCH).sentences == (
        f"Ce qui parle pour et contre « sténose » (probabilité {share(83)}).",
        ("Fréquence cardiaque : 120 /min, valeur habituelle. Parle pour « sténose » "
        f"(très fortement, {share(53)} du poids total)."),
        (f"Age : 60 ans, valeur habituelle. Parle pour « sténose » (fortement, {share(13)} du "
        "poids total)."),
        f"Chol : valeur manquante. Parle pour « sténose » (modérément, {share(6)} du poids total).",
        f"Douleur : aucune. Parle contre « sténose » (très fortement, {share(26)} du poids total).",
        ("Ces parts disent d’où vient le calcul du modèle ; ce ne sont pas des causes de la "
        "maladie."),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (197, "higher than in at least 97 % of the training cases"),
        (250, "higher than in at least 99 % of the training cases"),
        (152, "higher than in at least 75 % of the training cases"),
        (100, "a usual value"),
        (20.5, "lower than in at least 85 % of the training cases"),
        (-5, "lower than in at least 99 % of the training cases"),
    ],
)
def test_a_value_is_high_or_low_by_what_the_training_cases_were(value: float, said: str) -> None:
    reason = told(values=(value, *VALUES[1:])).speaking_for[0]
    assert f", {said}. " in reason.sentence


def test_a_value_that_most_cases_share_is_neither_high_nor_low() -> None:
    quantiles = reference().quantiles.copy()
    quantiles[0, : len(LEVELS) - 4] = 0
    tied = replace(reference(), quantiles=quantiles)
    zero = account(
        features=FEATURES, values=floats([0, 4, 60, np.nan, 5]), contributions=CONTRIBUTIONS,
        base=0, total=0, reference=tied, label=PRESENT, other=None, temperature=1,
        probability=0.5, language=Language.ENGLISH, count=1,
    )  # fmt: skip
    assert "a usual value" in zero.speaking_for[0].sentence


def test_a_contrast_says_by_how_much_the_ratio_of_probabilities_changes() -> None:
    contrast = told(other=ABSENT)
    said = contrast.speaking_for[0].sentence
    # The log-odds are divided by the temperature: 0.5 / 0.5, and e is 2.72.
    assert "“stenosis” rather than “nothing”, multiplying the ratio of" in said
    assert "their probabilities by 2.72 (" in said
    assert "“nothing” rather than “stenosis”" in contrast.speaking_against[0].sentence


def test_reasons_and_rest_add_up_to_the_total() -> None:
    for count in (1, 2, 10):
        some = told(count=count)
        parts = (*some.speaking_for, *some.speaking_against)
        assert some.base + sum(one.contribution for one in parts) + some.rest == pytest.approx(
            some.total, abs=1e-6
        )
        assert len(some.speaking_for) == min(count, 3)
        assert bool(some.remainder) == (count < 3)
    assert told(count=1).remainder == "The other 2 features, together: speaks for “stenosis”."


def test_the_picture_is_well_formed_speaks_and_runs_nothing() -> None:
    for language in Language:
        drawn = waterfall.draw(told(language, other=ABSENT))
        root = ET.fromstring(drawn)  # noqa: S314 - our own, which the browser parses as well
        tags = [element.tag.removeprefix("{http://www.w3.org/2000/svg}") for element in root.iter()]
        assert set(tags) == {"svg", "title", "desc", "rect", "text", "line", "g"}
        assert root.get("lang") == language
        named = (root.get("aria-labelledby") or "").split()
        described = {element.get("id"): element.text for element in root.iter()}
        assert described[named[1]] == " ".join(told(language, other=ABSENT).sentences)
        assert not re.search(r"href|style=|\son\w+=|url\(", drawn)


def test_bars_join_from_the_start_to_the_answer() -> None:
    root = ET.fromstring(waterfall.draw(told()))  # noqa: S314
    bars = [
        (float(bar.get("x", 0)), float(bar.get("width", 0)), bar.get("fill"))
        for bar in root.iter("{http://www.w3.org/2000/svg}rect")
    ][1:]
    assert len(bars) == 4
    heaviest, against = bars[0], bars[1]
    assert heaviest[1] == pytest.approx(2 * against[1], abs=0.2)
    assert heaviest[0] + heaviest[1] == pytest.approx(against[0] + against[1], abs=0.2)
    assert heaviest[2] != against[2]
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"−1.00", "+0.50", "−0.25", "−0.56"} <= set(texts)


def test_names_from_a_contract_cannot_break_the_picture() -> None:
    hostile = account(
        features=[Feature(name="</text><script>alert(1)</script>", unit="&<")],
        values=floats([1]), contributions=floats([1]), base=0, total=1,
        reference=replace(reference(), quantiles=reference().quantiles[:1]),
        label=label("x", "<b>", '"&'), other=None, temperature=1, probability=1,
        language=Language.ENGLISH, count=10,
    )  # fmt: skip
    drawn = waterfall.draw(hostile)
    ET.fromstring(drawn)  # noqa: S314
    assert "<script" not in drawn


def test_an_answer_tells_of_any_label_and_any_two(served: ServedModel) -> None:
    answer = served.answer(served.contract.vector(dict.fromkeys(served.contract.names, 6.0)))
    for one in served.labels:
        alone = answer.account(one)
        assert alone.total == pytest.approx(answer.margins[served.labels.index(one)])
        assert alone.language is Language.FRENCH
        for other in set(served.labels) - {one}:
            contrast = answer.account(one, rather_than=other, language=Language.ENGLISH)
            assert contrast.total == pytest.approx(
                alone.total - answer.account(other).total, abs=1e-5
            )
            log_odds = np.log(dict(answer.ranking)[one] / dict(answer.ranking)[other])
            assert contrast.total / answer.temperature == pytest.approx(log_odds, abs=1e-4)
    assert answer.picture() == waterfall.draw(answer.account(answer.label))
    with pytest.raises(KeyError):
        answer.account("foot")
