"""What monitoring reads of the log, on either database."""

from guarantee import dossier, seen
from guarantee.bodies import Corrected, Decision, FirstRead
from guarantee.card import Mode
from guarantee.seen import Followed, Span
from tests.guarantee.clinic import CARD, Clinic

EVERYTHING = Span()


def _ids(
    clinic: Clinic,
    span: Span = EVERYTHING,
    *,
    oldest_first: bool = False,
    once_a_patient: bool = False,
) -> list[str]:
    found = seen.inferences(
        clinic.ledger,
        model=CARD.name,
        version="1",
        span=span,
        oldest_first=oldest_first,
        once_a_patient=once_a_patient,
    )
    return [one.id for one in found]


def test_the_newest_comes_first_and_a_patient_counts_once_where_asked(clinic: Clinic) -> None:
    first, second = clinic.inform(1), clinic.inform(2)
    asked = [clinic.infer(who).id for who in (first, second, first, first)]
    assert _ids(clinic) == asked[::-1]
    assert _ids(clinic, oldest_first=True) == asked
    assert _ids(clinic, once_a_patient=True) == [asked[3], asked[1]]
    assert _ids(clinic, oldest_first=True, once_a_patient=True) == [asked[0], asked[1]]


def test_a_second_reading_passes_over_the_patients_of_the_first_and_of_no_others(
    clinic: Clinic,
) -> None:
    asked = [clinic.infer(clinic.inform(number)).id for number in (1, 2, 3)]
    patients: set[str] = set()
    first = next(
        seen.inferences(
            clinic.ledger,
            model=CARD.name,
            version="1",
            once_a_patient=True,
            passing_over=patients,
        )
    )
    assert first.id == asked[2]
    rest = seen.inferences(
        clinic.ledger, model=CARD.name, version="1", oldest_first=True, passing_over=patients
    )
    assert [one.id for one in rest] == asked[:2]


def test_spans_of_time_and_place_hold_what_they_say(clinic: Clinic) -> None:
    recorded = [clinic.infer(clinic.inform(1)) for _ in range(5)]
    ids = [one.id for one in recorded]
    times = [one.header.time for one in recorded]
    for at in {times[0], times[2], times[4] + 1}:
        later = [one for one, time in zip(ids, times, strict=True) if time >= at]
        earlier = [one for one, time in zip(ids, times, strict=True) if time < at]
        assert _ids(clinic, Span(since=at), oldest_first=True) == later
        assert _ids(clinic, Span(until=at), oldest_first=True) == earlier
    middle = Span(first=recorded[1].index, end=recorded[3].index)
    assert _ids(clinic, middle, oldest_first=True) == ids[1:3]


def test_another_version_s_answers_are_not_this_one_s(clinic: Clinic) -> None:
    clinic.infer(clinic.inform(1))
    assert list(seen.inferences(clinic.ledger, model=CARD.name, version="2")) == []
    assert list(seen.inferences(clinic.ledger, model="another", version="1")) == []


def test_what_followed_is_told_by_inference(clinic: Clinic) -> None:
    whole = clinic.whole_dossier(1)
    withheld = clinic.infer(clinic.inform(2), mode=Mode.WITHHELD).id
    dossier.read_first(
        clinic.ledger, clinic.clinician, dossier=withheld, read=FirstRead(label="LUNG")
    )
    alone = clinic.infer(clinic.inform(3)).id
    told = seen.followed(clinic.ledger, [whole, withheld, alone])
    assert told[whole].truth == "BREAST"
    assert not told[whole].truth_corrected
    decision = told[whole].decision
    assert decision is not None
    assert (decision.decision, decision.label) == (Decision.ACCEPTED, "BREAST")
    assert (told[withheld].first_read, told[withheld].decision) == ("LUNG", None)
    assert told[alone] == Followed()

    confirmation = clinic.ledger.thread(whole)[-1].id
    dossier.correct(
        clinic.ledger,
        clinic.clinician,
        dossier=whole,
        correction=Corrected(corrects=confirmation, statement="It was the lung after all."),
    )
    assert seen.followed(clinic.ledger, [whole])[whole].truth_corrected
