"""A draw is determined by its seed, takes its share of every stratum, and depends on every bit."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from guarantee.draw import Case, drawn, seed_of

CASES = [
    Case(dossier=f"d{n}", model=f"m{n % 2}", outcome=("accepted", "overridden", "undecided")[n % 3])
    for n in range(60)
]
SEED = seed_of(b"s" * 32, b"r" * 32)


@given(st.permutations(CASES))
def test_the_order_of_the_frame_does_not_matter(cases: list[Case]) -> None:
    assert drawn(cases, Fraction(1, 5), SEED) == drawn(CASES, Fraction(1, 5), SEED)


def test_every_stratum_gives_its_share_rounded_up() -> None:
    chosen = set(drawn(CASES, Fraction(1, 20), SEED))
    for model in ("m0", "m1"):
        for outcome in ("accepted", "overridden", "undecided"):
            stratum = {c.dossier for c in CASES if (c.model, c.outcome) == (model, outcome)}
            assert len(stratum & chosen) == 1


def test_a_rate_of_one_draws_everything_and_an_empty_frame_nothing() -> None:
    assert set(drawn(CASES, Fraction(1), SEED)) == {case.dossier for case in CASES}
    assert drawn([], Fraction(1), SEED) == ()


def test_another_secret_or_root_draws_another_sample() -> None:
    samples = {
        drawn(CASES, Fraction(1, 4), seed_of(secret, root))
        for secret in (b"s" * 32, b"t" * 32)
        for root in (b"r" * 32, b"q" * 32)
    }
    assert len(samples) == 4
