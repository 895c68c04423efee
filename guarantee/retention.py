"""How long a patient's records are kept.

Source: code de la santé publique, R. 1112-7: twenty years from the last stay or visit; at least to
the patient's 28th birthday; ten years after death where that comes first; suspended by litigation.
AI Act, articles 19 and 26: logs are kept for six months at least.
"""

from datetime import date, timedelta

YEARS_AFTER_VISIT = 20
BIRTHDAY_AT_LEAST = 28
YEARS_AFTER_DEATH = 10
LEAST_LOG = timedelta(days=184)
"""Six months, counted as the longest six in a row."""


def years_after(day: date, years: int) -> date:
    """The same day so many years on; 29 February becomes 1 March."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def kept_until(*, last_visit: date, birth: date, death: date | None = None) -> date:
    """The last day on which a patient's records must be kept.

    Args:
        last_visit: Of the last stay or visit that the log knows.
        birth: The patient's.
        death: The patient's, within ten years of the last visit or later.
    """
    end = max(years_after(last_visit, YEARS_AFTER_VISIT), years_after(birth, BIRTHDAY_AT_LEAST))
    if death is not None:
        end = min(end, years_after(death, YEARS_AFTER_DEATH))
    return max(end, last_visit + LEAST_LOG)
