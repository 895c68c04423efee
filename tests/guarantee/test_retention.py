"""R. 1112-7 in dates."""

from datetime import UTC, date, datetime, timedelta

import pytest

from guarantee.retention import earliest_day, kept_until, latest_day, years_after


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


def test_a_child_who_died_within_ten_years_of_the_visit_is_kept_for_ten_more() -> None:
    """ "Dans tous les cas": not to the 28th birthday."""
    visit, birth = date(2026, 1, 1), date(2025, 6, 1)
    assert kept_until(last_visit=visit, birth=birth, death=date(2026, 2, 1)) == date(2036, 2, 1)
    assert kept_until(last_visit=visit, birth=birth, death=date(2035, 12, 31)) == date(2045, 12, 31)


@pytest.mark.parametrize("death", [date(2036, 1, 1), date(2040, 5, 1), date(2050, 1, 1)])
def test_a_death_ten_years_after_the_visit_or_later_changes_nothing(death: date) -> None:
    visit, child, grown = date(2026, 1, 1), date(2025, 6, 1), date(1950, 1, 1)
    assert kept_until(last_visit=visit, birth=child, death=death) == date(2053, 6, 1)
    assert kept_until(last_visit=visit, birth=grown, death=death) == date(2046, 1, 1)


def test_records_are_kept_on_the_birthday_itself() -> None:
    assert kept_until(last_visit=date(2026, 1, 1), birth=date(2024, 2, 29)) == date(2052, 2, 29)
    # No visit of a patient of eight or older is decided by a birthday.
    assert kept_until(last_visit=date(2026, 1, 1), birth=date(2018, 1, 2)) == date(2046, 1, 2)
    assert kept_until(last_visit=date(2026, 1, 1), birth=date(2018, 1, 1)) == date(2046, 1, 1)
    assert kept_until(last_visit=date(2026, 1, 1), birth=date(2017, 12, 31)) == date(2046, 1, 1)


def test_what_is_contested_stops_the_clock() -> None:
    visit, birth = date(2026, 1, 1), date(1950, 1, 1)
    suspended = timedelta(days=400)
    kept = kept_until(last_visit=visit, birth=birth, suspended=suspended)
    assert kept == date(2046, 1, 1) + suspended
    dead = kept_until(last_visit=visit, birth=birth, death=date(2026, 2, 1), suspended=suspended)
    assert dead == date(2036, 2, 1) + suspended


def test_a_day_is_over_when_it_is_over_in_all_of_france() -> None:
    midnight = int(datetime(2046, 1, 2, tzinfo=UTC).timestamp() * 1000)
    hour = 3_600_000
    assert latest_day(midnight) == date(2046, 1, 2)
    assert latest_day(midnight + 12 * hour) == date(2046, 1, 3)
    assert earliest_day(midnight + 10 * hour - 1) == date(2046, 1, 1)
    assert earliest_day(midnight + 10 * hour) == date(2046, 1, 2)


def test_never_less_than_six_months_of_log() -> None:
    assert kept_until(
        last_visit=date(2026, 1, 1), birth=date(1990, 1, 1), death=date(2010, 1, 1)
    ) == date(2026, 7, 4)


def test_a_leap_day_has_an_anniversary() -> None:
    assert years_after(date(2024, 2, 29), 1) == date(2025, 3, 1)
    assert years_after(date(2024, 2, 29), 4) == date(2028, 2, 29)
