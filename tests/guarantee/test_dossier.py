"""The clinical thread: what may follow what, and what is refused with the step that is missing."""

import pytest

from guarantee import college, dossier, opened, versions
from guarantee.abstention import Abstention
from guarantee.appending import Draft, Request
from guarantee.bodies import (
    Corrected,
    Decision,
    DecisionSigned,
    FirstRead,
)
from guarantee.card import Mode
from guarantee.identity import Profession, Role
from guarantee.pseudonyms import IdentityMismatch
from guarantee.records import RecordType
from guarantee.refusals import (
    AlreadyDone,
    AnswerWithheld,
    NotAMember,
    NotApproved,
    NothingToAccept,
    NotServing,
    RoleRefused,
    StepMissing,
    Suspended,
    UnknownDossier,
    UnknownModel,
)
from guarantee.repeats import RequestConflict
from guarantee.signature import SignatureRefused
from guarantee.situations import Step
from tests.guarantee.clinic import CARD, Clinic, patient

NOBODY = "00000000-0000-7000-8000-000000000000"


def test_a_dossier_holds_every_step_in_its_order(clinic: Clinic) -> None:
    inference = clinic.whole_dossier()
    view = opened.open_dossier(clinic.ledger, inference)
    assert view.step is Step.CONFIRMED
    assert [event.recorded.header.type for event in view.events] == [
        RecordType.INFERENCE_MADE,
        RecordType.DECISION_SIGNED,
        RecordType.PATIENT_TOLD,
        RecordType.OUTCOME_CONFIRMED,
    ]
    assert view.inference is not None
    assert view.inference.answer.label == "BREAST"


def test_no_header_names_the_patient(clinic: Clinic) -> None:
    clinic.whole_dossier()
    person = patient()
    pseudonym = clinic.ledger.people.patient(person)
    headers = b"".join(recorded.header.encode() for recorded in clinic.ledger.page(0, 1000))
    for secret in (person.matricule, person.birth_name, pseudonym, "899700000001", "BREAST"):
        assert secret.encode() not in headers


def test_steps_out_of_order_name_the_step_that_is_missing(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform()).id
    with pytest.raises(StepMissing, match="DecisionSigned"):
        clinic.tell(inference)
    with pytest.raises(StepMissing, match="DecisionSigned"):
        clinic.confirm(inference)
    clinic.decide(inference)
    with pytest.raises(StepMissing, match="PatientTold"):
        clinic.confirm(inference)
    clinic.tell(inference)
    clinic.confirm(inference)
    for again in (clinic.decide, clinic.tell, clinic.confirm):
        with pytest.raises(AlreadyDone):
            again(inference)


def test_a_withheld_answer_stays_closed_until_the_first_read(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform(), mode=Mode.WITHHELD).id
    view = opened.open_dossier(clinic.ledger, inference)
    assert view.withheld
    assert view.inference is None
    assert [event.body for event in view.events] == [None]
    with pytest.raises(StepMissing, match="FirstRead"):
        clinic.decide(inference)
    read = FirstRead(label="LUNG")
    dossier.read_first(clinic.ledger, clinic.clinician, dossier=inference, read=read)
    assert opened.open_dossier(clinic.ledger, inference).inference is not None
    with pytest.raises(AlreadyDone):
        dossier.read_first(clinic.ledger, clinic.clinician, dossier=inference, read=read)
    clinic.decide(inference)


def test_while_one_answer_is_withheld_the_next_on_that_patient_is_too(clinic: Clinic) -> None:
    pseudonym = clinic.ledger.people.patient(patient())
    assert dossier.mode_for(clinic.ledger, pseudonym, CARD.name, Mode.SHOWN) is Mode.SHOWN
    inference = clinic.infer(clinic.inform(), mode=Mode.WITHHELD).id
    with pytest.raises(AnswerWithheld, match="FirstRead"):
        clinic.infer(clinic.inform())
    assert dossier.mode_for(clinic.ledger, pseudonym, CARD.name, Mode.SHOWN) is Mode.WITHHELD
    dossier.read_first(
        clinic.ledger, clinic.clinician, dossier=inference, read=FirstRead(label="LUNG")
    )
    assert dossier.mode_for(clinic.ledger, pseudonym, CARD.name, Mode.SHOWN) is Mode.SHOWN


def test_no_second_answer_tells_the_first_one_that_is_withheld(clinic: Clinic) -> None:
    first = clinic.infer(clinic.inform(), mode=Mode.WITHHELD).id
    second = clinic.infer(clinic.inform(), mode=Mode.WITHHELD).id
    third = clinic.infer(clinic.inform(), mode=Mode.WITHHELD).id
    read = FirstRead(label="LUNG")
    dossier.read_first(clinic.ledger, clinic.clinician, dossier=second, read=read)
    for closed in (first, second, third):
        view = opened.open_dossier(clinic.ledger, closed)
        assert view.withheld
        assert {event.body for event in view.events} == {None}
    with pytest.raises(AnswerWithheld, match="FirstRead"):
        clinic.decide(second)
    dossier.read_first(clinic.ledger, clinic.clinician, dossier=first, read=read)
    for read_now in (first, second):
        assert not opened.open_dossier(clinic.ledger, read_now).withheld
        clinic.decide(read_now)
    assert opened.open_dossier(clinic.ledger, third).withheld


def test_a_decision_whose_attestation_was_not_valid_then_is_refused(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform()).id
    clinic.ledger._clock = lambda: 1_000_000  # a clock set back
    with pytest.raises(SignatureRefused, match="not valid"):
        clinic.decide(inference)


@pytest.mark.parametrize(
    ("decision", "label", "reason", "field"),
    [
        (Decision.ACCEPTED, "LUNG", None, "label"),
        (Decision.OVERRIDDEN, None, "why", "label"),
        (Decision.OVERRIDDEN, "BREAST", "why", "label"),
        (Decision.OVERRIDDEN, "LIVER", "why", "label"),
        (Decision.OVERRIDDEN, "LUNG", None, "reason"),
        (Decision.DISREGARDED, "LUNG", None, "label"),
    ],
)
def test_a_decision_that_contradicts_itself_is_refused(
    clinic: Clinic, decision: Decision, label: str | None, reason: str | None, field: str
) -> None:
    inference = clinic.infer(clinic.inform()).id
    with pytest.raises(dossier.InvalidDecision) as refusal:
        clinic.decide(inference, decision, label, reason)
    assert refusal.value.field == field
    clinic.decide(inference, Decision.OVERRIDDEN, "LUNG", "Histology says otherwise.")


def test_where_the_model_abstains_there_is_nothing_to_accept(clinic: Clinic) -> None:
    recorded = clinic.infer(clinic.inform(), abstention=Abstention.OUT_OF_DISTRIBUTION)
    assert recorded.header.outcome == "abstained"
    with pytest.raises(dossier.InvalidDecision, match="abstained: there is nothing to accept"):
        clinic.decide(recorded.id)
    clinic.decide(recorded.id, Decision.OVERRIDDEN, "BREAST", "Seen on the slide.")
    other = clinic.infer(clinic.inform(), abstention=Abstention.TOO_FEW_FEATURES)
    clinic.decide(other.id, Decision.DISREGARDED)


def test_a_withheld_abstention_is_told_by_no_header_and_accepted_by_nobody(
    clinic: Clinic,
) -> None:
    recorded = clinic.infer(
        clinic.inform(), mode=Mode.WITHHELD, abstention=Abstention.SET_TOO_LARGE
    )
    assert recorded.header.outcome == "withheld"
    dossier.read_first(
        clinic.ledger, clinic.clinician, dossier=recorded.id, read=FirstRead(label="LUNG")
    )
    with pytest.raises(dossier.InvalidDecision, match="nothing to accept"):
        clinic.decide(recorded.id)


def test_the_log_itself_takes_no_acceptance_of_an_abstention(clinic: Clinic) -> None:
    answered = clinic.infer(clinic.inform()).id
    decision = clinic.ledger.open_as(clinic.decide(answered), DecisionSigned)
    information = clinic.inform()
    abstained = clinic.infer(information, abstention=Abstention.OUT_OF_DISTRIBUTION).id
    draft = Draft(
        type=RecordType.DECISION_SIGNED,
        actor=clinic.clinician,
        outcome=Decision.ACCEPTED,
        body=decision,
        sealed_for=opened.patient_of(clinic.ledger, information),
        dossier=abstained,
        follows=(abstained,),
        model=CARD.name,
        model_version="1",
    )
    with pytest.raises(NothingToAccept, match="nothing to accept"):
        clinic.ledger.record(draft, None)


def test_a_correction_follows_a_record_of_its_own_dossier(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform(1)).id
    decision = clinic.decide(inference)
    other = clinic.infer(clinic.inform(2)).id
    correction = Corrected(corrects=decision.id, statement="The slides were swapped.")
    dossier.correct(clinic.ledger, clinic.clinician, dossier=inference, correction=correction)
    with pytest.raises(UnknownDossier):
        dossier.correct(clinic.ledger, clinic.clinician, dossier=other, correction=correction)


def test_the_same_ins_under_other_traits_is_another_patient_s_file_until_checked(
    clinic: Clinic,
) -> None:
    clinic.inform(1)
    changed = patient(1).model_copy(update={"birth_name": "AUTRE"})
    with pytest.raises(IdentityMismatch, match="birth_name") as mismatch:
        clinic.ledger.people.patient(changed)
    assert "AUTRE" not in str(mismatch.value)


def test_nothing_is_answered_while_the_model_is_suspended(clinic: Clinic) -> None:
    information = clinic.inform()
    monitor = clinic.actor("monitor", Role.MONITOR)
    versions.suspend(clinic.ledger, monitor, name=CARD.name, reason="Drift beyond the card.")
    with pytest.raises(Suspended):
        clinic.infer(information)
    with pytest.raises(Suspended, match="Drift beyond the card"):
        versions.standing(clinic.ledger, CARD.name).check_serving()
    with pytest.raises(RoleRefused):
        versions.resume(clinic.ledger, monitor, name=CARD.name, reason="Enough.")
    member = clinic.actor("member-physician", Role.COLLEGE)
    versions.resume(clinic.ledger, member, name=CARD.name, reason="Reviewed.")
    clinic.infer(information)


def test_a_version_answers_only_after_a_whole_college_has_voted(clinic: Clinic) -> None:
    clinic.register("2")
    with pytest.raises(AlreadyDone):
        clinic.register("2")
    with pytest.raises(NotApproved, match="physician"):
        versions.promote(clinic.ledger, clinic.scientist, name=CARD.name, version="2")
    stranger = clinic.actor("stranger", Role.COLLEGE)
    with pytest.raises(NotAMember):
        college.vote(clinic.ledger, stranger, name=CARD.name, version="2", in_favour=True)
    member = stranger
    approvals = []
    for profession in list(Profession)[:3]:
        member = clinic.actor(f"member-{profession}", Role.COLLEGE)
        missing = versions.registered_version(clinic.ledger, CARD.name, "2").missing
        assert profession in missing
        cast = college.vote(clinic.ledger, member, name=CARD.name, version="2", in_favour=True)
        approvals.append(cast.approval is not None)
    assert approvals == [False, False, True]
    with pytest.raises(AlreadyDone):
        college.vote(clinic.ledger, member, name=CARD.name, version="2", in_favour=True)
    versions.promote(clinic.ledger, clinic.scientist, name=CARD.name, version="2")
    with pytest.raises(NotServing):
        clinic.infer(clinic.inform())
    reigns = versions.history(clinic.ledger, CARD.name)
    assert [reign.version for reign in reigns] == ["1", "2"]


def test_a_vote_against_leaves_the_version_waiting(clinic: Clinic) -> None:
    clinic.register("2")
    for profession in list(Profession)[:3]:
        member = clinic.actor(f"member-{profession}", Role.COLLEGE)
        in_favour = profession is not Profession.PARAMEDIC
        college.vote(clinic.ledger, member, name=CARD.name, version="2", in_favour=in_favour)
    assert [waiting.version for waiting in college.status(clinic.ledger).open_versions] == ["2"]


def test_a_retry_after_a_lost_reply_records_the_decision_once(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform()).id
    request = Request(
        actor=clinic.clinician.pseudonym, route="decision", key="k1", content=b"accept"
    )
    first = clinic.decide(inference, request=request)
    again = clinic.decide(inference, request=request)
    assert (again.id, again.index, again.repeated) == (first.id, first.index, True)
    other = Request(
        actor=clinic.clinician.pseudonym, route="decision", key="k1", content=b"override"
    )
    with pytest.raises(RequestConflict):
        clinic.decide(inference, request=other)
    elsewhere = Request(actor="someone", route="decision", key="k1", content=b"override")
    assert clinic.ledger.repeated(elsewhere) is None
    assert clinic.ledger.repeated(request) == again


def test_what_nobody_registered_is_unknown(clinic: Clinic) -> None:
    with pytest.raises(UnknownModel):
        versions.standing(clinic.ledger, "no-such-model")
    with pytest.raises(UnknownDossier):
        clinic.tell(NOBODY)
    with pytest.raises(UnknownDossier):
        opened.open_dossier(clinic.ledger, NOBODY)
