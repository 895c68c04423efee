"""R. 1112-7 in dates."""

from datetime import date

from guarantee.retention import kept_until, years_after


def test_twenty_years_from_the_last_visit() -> None:
    assert kept_until(last_visit=date(2026, 11, 24), birth=date(1969, 5, 12)) == date(2046, 11, 24)


def test_a_child_s_records_are_kept_to_the_28th_birthday() -> None:
    assert kept_until(last_visit=date(2026, 1, 1), birth=date(2025, 6, 1)) == date(2053, 6, 1)


def test_ten_years_after_death_where_that_comes_first() -> None:
    last_visit, birth = date(2026, 1, 1), date(1950, 1, 1)
    dead = kept_until(last_visit=last_visit, birth=birth, death=date(2026, 2, 1))
    assert dead == date(2036, 2, 1)
    late = kept_until(last_visit=last_visit, birth=birth, death=date(2044, 1, 1))
    assert late == date(2046, 1, 1)


def test_never_less_than_six_months_of_log() -> None:
    assert kept_until(
        last_visit=date(2026, 1, 1), birth=date(1990, 1, 1), death=date(2010, 1, 1)
    ) == date(2026, 7, 4)


def test_a_leap_day_has_an_anniversary() -> None:
    assert years_after(date(2024, 2, 29), 1) == date(2025, 3, 1)
    assert years_after(date(2024, 2, 29), 4) == date(2028, 2, 29)
