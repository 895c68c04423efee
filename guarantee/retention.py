"""How long a patient's records are kept.

Source: code de la santé publique, R. 1112-7: twenty years from the last stay or visit; at least to
the patient's 28th birthday; in any case for ten years after the death of somebody who dies within
ten years of that visit; suspended while the care is contested, in court or before.
AI Act, articles 19 and 26: logs are kept for six months at least.
"""

from datetime import date, datetime, timedelta, timezone
from typing import Final

YEARS_AFTER_VISIT: Final = 20
BIRTHDAY_AT_LEAST: Final = 28
YEARS_AFTER_DEATH: Final = 10
LEAST_LOG: Final = timedelta(days=184)
"""Six months, counted as the longest six in a row."""

# A day begins in Wallis-et-Futuna and ends in Polynésie française: nothing goes a day early.
_FIRST: Final = timezone(timedelta(hours=12))
_LAST: Final = timezone(timedelta(hours=-10))


def latest_day(milliseconds: int) -> date:
    """The day that it was, at that time since 1970, where France's day begins."""
    return datetime.fromtimestamp(milliseconds / 1000, _FIRST).date()


def earliest_day(milliseconds: int) -> date:
    """The day that it still was, at that time since 1970, where France's day ends."""
    return datetime.fromtimestamp(milliseconds / 1000, _LAST).date()


def years_after(day: date, years: int) -> date:
    """The same day so many years on; 29 February becomes 1 March."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def kept_until(
    *,
    last_visit: date,
    birth: date,
    death: date | None = None,
    suspended: timedelta = timedelta(0),
) -> date:
    """The last day on which a patient's records must be kept.

    Args:
        last_visit: Of the last stay or visit that the log knows.
        birth: The patient's.
        death: The patient's; ten years after the visit or later, it changes nothing.
        suspended: For how long since the visit the care was contested.
    """
    if death is not None and death < years_after(last_visit, YEARS_AFTER_DEATH):
        end = years_after(death, YEARS_AFTER_DEATH)
    else:
        end = max(years_after(last_visit, YEARS_AFTER_VISIT), years_after(birth, BIRTHDAY_AT_LEAST))
    return max(end + suspended, last_visit + LEAST_LOG)
