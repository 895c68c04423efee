"""Updates of a learning model before the protocol, and what they may learn from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guarantee import college, dossier, informing, versions
from guarantee.appending import Draft
from guarantee.bodies import (
    Difference,
    ErasureGround,
    Learned,
    ModelUpdated,
    OutcomeConfirmed,
    PatientObjected,
    Recipient,
)
from guarantee.card import Card, ChangeProtocol, Kind, Language
from guarantee.erasure import erase
from guarantee.identity import Profession, Role
from guarantee.leaflet import leaflet
from guarantee.opened import patient_of
from guarantee.records import RecordType
from guarantee.refusals import AlreadyDone, NotApproved, NotServing
from guarantee.reuse import reusable
from guarantee.updates import beyond
from guarantee.verify import verify_home
from tests.guarantee.clinic import CARD, DIGEST, Clinic, check_ledger, patient, text

THIRD = CARD.labels[0].model_copy(update={"id": "OVARY", "words": text("ovary")})
PROTOCOL = ChangeProtocol(
    data=text("Confirmed outcomes."),
    least_new_cases=2,
    window_cases=10,
    least_locked_cases=20,
    most_accuracy_lost=0.05,
    most_flipped_share=0.2,
    new_labels=(THIRD,),
    new_labels_from_cases=2,
)
LEARNING = CARD.model_copy(update={"kind": Kind.LEARNING, "change_protocol": PROTOCOL})


def learned(**other: object) -> Learned:
    """An update that keeps inside the bounds, but for what is said otherwise."""
    facts = {
        "base": "1",
        "cases": 100,
        "new_cases": 2,
        "cases_sha256": "cd" * 32,
        "up_to": 9,
        "locked": Difference(cases=20, right_before=18, right_after=17, flipped=4),
        "window": Difference(cases=10, right_before=5, right_after=5, flipped=0),
    }
    return Learned.model_validate({**facts, **other})


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    """Where a learning model answers, approved with its change protocol."""
    clinic = Clinic.opened(tmp_path)
    register(clinic, "1", None)
    for profession in list(Profession)[:3]:
        member = clinic.actor(f"member-{profession}", Role.COLLEGE)
        college.appoint(clinic.ledger, member, member=member, profession=profession)
        college.vote(clinic.ledger, member, name=CARD.name, version="1", in_favour=True)
    versions.promote(clinic.ledger, clinic.scientist, name=CARD.name, version="1")
    with clinic.ledger:
        yield clinic


def register(clinic: Clinic, version: str, update: Learned | None, card: Card = LEARNING) -> None:
    versions.register_model(
        clinic.ledger,
        clinic.scientist,
        card=card,
        version=version,
        digest=DIGEST,
        run="run",
        learned=update,
    )


def update(clinic: Clinic, version: str) -> None:
    versions.record_update(clinic.ledger, clinic.scientist, name=CARD.name, version=version)


def test_an_update_inside_the_approved_protocol_needs_no_votes(clinic: Clinic) -> None:
    register(clinic, "2", learned())
    with pytest.raises(NotApproved):
        versions.promote(clinic.ledger, clinic.scientist, name=CARD.name, version="2")
    update(clinic, "2")
    assert versions.registered_version(clinic.ledger, CARD.name, "2").missing == ()
    with pytest.raises(AlreadyDone):
        update(clinic, "2")
    versions.promote(clinic.ledger, clinic.scientist, name=CARD.name, version="2")
    # The protocol of the third is still the one that the college voted on, with the first.
    widened = LEARNING.model_copy(update={"labels": (*CARD.labels, THIRD)})
    register(clinic, "3", learned(base="2"), widened)
    update(clinic, "3")
    assert versions.charter_of(clinic.ledger, CARD.name, "3") == versions.charter_of(
        clinic.ledger, CARD.name, "1"
    )
    check_ledger(clinic.home)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"new_cases": 1}, "1 new cases, 2 needed"),
        ({"base": "7"}, "another version than the one that answers"),
        (
            {"locked": Difference(cases=20, right_before=18, right_after=16, flipped=4)},
            "more is lost than 5.0%",
        ),
        (
            {"locked": Difference(cases=20, right_before=18, right_after=18, flipped=5)},
            "5 of 20 locked cases get another answer",
        ),
        (
            {"locked": Difference(cases=19, right_before=18, right_after=18, flipped=0)},
            "19 locked cases, 20 needed",
        ),
        (
            {"window": Difference(cases=10, right_before=5, right_after=4, flipped=1)},
            "less is gained",
        ),
        (
            {"window": Difference(cases=9, right_before=5, right_after=5, flipped=1)},
            "9 cases in the window, 10 needed",
        ),
    ],
)
def test_an_update_beyond_a_bound_waits_for_the_college_and_says_why(
    clinic: Clinic, facts: dict[str, object], said: str
) -> None:
    register(clinic, "2", learned(**facts))
    with pytest.raises(NotApproved, match=said):
        update(clinic, "2")
    (waiting,) = college.status(clinic.ledger).open_versions
    assert waiting.missing
    if "base" not in facts:
        (reason,) = waiting.beyond
        assert said in reason


def test_whoever_records_such_an_update_past_the_house_is_found_by_the_verifier(
    clinic: Clinic,
) -> None:
    register(clinic, "2", learned(new_cases=1))
    charter = versions.charter_of(clinic.ledger, CARD.name, "1")
    clinic.ledger.record(_update_of(clinic, "2", (charter,), new_cases=1))
    (found,) = verify_home(clinic.home).findings
    assert "beyond the change protocol: 1 new cases, 2 needed" in found.problem


def test_counts_that_the_registration_does_not_have_are_found_by_the_verifier(
    clinic: Clinic,
) -> None:
    register(clinic, "2", learned())
    charter = versions.charter_of(clinic.ledger, CARD.name, "1")
    clinic.ledger.record(_update_of(clinic, "2", (charter,), new_cases=3))
    (found,) = verify_home(clinic.home).findings
    assert "what it learned from" in found.problem


def _update_of(clinic: Clinic, version: str, follows: tuple[str, ...], new_cases: int) -> Draft:
    return Draft(
        type=RecordType.MODEL_UPDATED,
        actor=clinic.scientist,
        outcome="updated",
        body=ModelUpdated(digest=DIGEST, new_cases=new_cases, cases_sha256="cd" * 32),
        follows=follows,
        model=CARD.name,
        model_version=version,
    )


def test_an_update_names_the_registration_whose_protocol_the_college_approved(
    clinic: Clinic,
) -> None:
    register(clinic, "2", learned())
    own = clinic.ledger.latest(RecordType.MODEL_REGISTERED)[-1].id
    with pytest.raises(NotApproved, match="another registration"):
        clinic.ledger.record(_update_of(clinic, "2", (own,), new_cases=2))


def test_an_update_that_the_college_votes_on_is_its_own_to_approve(clinic: Clinic) -> None:
    register(clinic, "2", learned())
    member = clinic.actor(f"member-{next(iter(Profession))}", Role.COLLEGE)
    college.vote(clinic.ledger, member, name=CARD.name, version="2", in_favour=False)
    with pytest.raises(NotApproved, match="its votes decide"):
        update(clinic, "2")


def test_a_protocol_that_the_update_brings_itself_approves_nothing(clinic: Clinic) -> None:
    wider = PROTOCOL.model_copy(update={"most_accuracy_lost": 1.0})
    register(clinic, "2", learned(), LEARNING.model_copy(update={"change_protocol": wider}))
    with pytest.raises(NotApproved, match="card is another"):
        update(clinic, "2")


def test_a_model_that_does_not_learn_is_never_updated(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path)
    register(clinic, "2", learned(), CARD)
    with pytest.raises(NotApproved, match="does not learn"):
        update(clinic, "2")
    clinic.ledger.close()


def test_without_a_version_that_answers_there_is_none_to_update(tmp_path: Path) -> None:
    clinic = Clinic.opened(tmp_path)
    register(clinic, "1", learned())
    with pytest.raises(NotServing):
        update(clinic, "1")
    clinic.ledger.close()


def test_the_bounds_hold_at_their_very_edge() -> None:
    assert beyond(PROTOCOL, learned()) == ()


def test_the_leaflet_of_what_learns_says_so_and_how_to_refuse() -> None:
    assert "refuser ce seul usage" in leaflet(LEARNING, Language.FRENCH)
    assert "refuser ce seul usage" not in leaflet(CARD, Language.FRENCH)


def test_only_outcomes_of_patients_who_knew_and_did_not_refuse_are_learned_from(
    clinic: Clinic,
) -> None:
    willing, untold, refusing, objecting, erased = (
        _confirmed(clinic, number, reuse=number != 2) for number in range(1, 6)
    )
    for information, reuse_only in ((refusing, True), (objecting, False)):
        informing.object_to_use(
            clinic.ledger,
            clinic.clinician,
            information_id=information,
            objection=PatientObjected(recipient=Recipient.PATIENT, reuse_only=reuse_only),
        )
    officer = clinic.actor("dpo", Role.DPO)
    erase(
        clinic.ledger,
        officer,
        pseudonym=patient_of(clinic.ledger, erased),
        ground=ErasureGround.COURT_ORDER,
    )
    found = reusable(clinic.ledger, CARD.name, ["1"])
    assert [one.patient for one in found.outcomes] == [patient_of(clinic.ledger, willing)]
    assert found.kept_out == 3
    assert patient_of(clinic.ledger, untold)
    check_ledger(clinic.home)


def test_who_refused_the_reuse_alone_is_still_answered_and_may_be_told_anew(
    clinic: Clinic,
) -> None:
    information = _confirmed(clinic, 1, reuse=True)
    informing.object_to_use(
        clinic.ledger,
        clinic.clinician,
        information_id=information,
        objection=PatientObjected(recipient=Recipient.PATIENT, reuse_only=True),
    )
    clinic.infer(information)
    assert reusable(clinic.ledger, CARD.name, ["1"]).outcomes == ()
    _confirmed(clinic, 1, reuse=True)
    assert len(reusable(clinic.ledger, CARD.name, ["1"]).outcomes) == 1
    check_ledger(clinic.home)


def test_a_patient_counts_once_with_the_outcome_confirmed_last(clinic: Clinic) -> None:
    _confirmed(clinic, 1, reuse=True)
    _confirmed(clinic, 1, reuse=True, label="OVARY")
    (only,) = reusable(clinic.ledger, CARD.name, ["1"]).outcomes
    assert only.label == "OVARY"


def _confirmed(clinic: Clinic, number: int, *, reuse: bool, label: str = "LUNG") -> str:
    """One patient's way from information, whose id this is, to a confirmed outcome."""
    information = informing.inform(
        clinic.ledger,
        clinic.clinician,
        patient=patient(number),
        recipient=Recipient.PATIENT,
        models=[CARD.name],
        valid_until=None,
        reuse=reuse,
    ).recorded.id
    inference = clinic.infer(information).id
    clinic.decide(inference)
    clinic.tell(inference)
    dossier.confirm_outcome(
        clinic.ledger,
        clinic.clinician,
        dossier=inference,
        outcome=OutcomeConfirmed(label=label, source="pathology"),
    )
    return information
