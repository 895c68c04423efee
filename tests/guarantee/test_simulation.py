"""What if: a simulation stands behind the gate of answers, and counts nowhere as one."""

from pathlib import Path

import pytest

from guarantee import informing, opened, versions
from guarantee.appending import Draft
from guarantee.bodies import InferenceMade, PatientObjected, Recipient, WhatIfMade
from guarantee.card import Mode
from guarantee.identity import Role
from guarantee.logged import Recorded
from guarantee.records import RecordType, pack_floats
from guarantee.refusals import (
    AnswerWithheld,
    NotInformed,
    Objected,
    ProtocolError,
    RoleRefused,
    StepMissing,
    Suspended,
    UnknownDossier,
)
from guarantee.simulation import check_simulable, record_what_if
from guarantee.verify import verify_home
from tests.guarantee.clinic import CARD, DIGEST, Clinic, check_ledger


def made(inference: InferenceMade, digest: str = DIGEST) -> WhatIfMade:
    return WhatIfMade(
        profile=pack_floats([9.0, 2.0, float("nan")]),
        version_digest=digest,
        platform="test",
        answer=inference.answer.model_copy(update={"label": "LUNG"}),
        label="BREAST",
        contributions=pack_floats([-0.6, 0.4, 0.0]),
    )


def simulate(clinic: Clinic, inference: str, digest: str = DIGEST) -> Recorded:
    """Past the first check, as two requests that meet would."""
    view = opened.open_dossier(clinic.ledger, inference)
    assert view.inference is not None
    return record_what_if(
        clinic.ledger, clinic.clinician, view=view, what_if=made(view.inference, digest)
    )


def check(clinic: Clinic, inference: str) -> None:
    check_simulable(clinic.ledger, opened.open_dossier(clinic.ledger, inference))


def test_it_follows_its_inference_at_any_step_and_moves_none(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform()).id
    for step in (clinic.decide, clinic.tell, clinic.confirm):
        check(clinic, inference)
        recorded = simulate(clinic, inference)
        assert recorded.header.outcome == "simulated"
        step(inference)
    simulate(clinic, inference)
    assert len(clinic.ledger.latest(RecordType.INFERENCE_MADE, count=100)) == 1
    check_ledger(clinic.home)


def test_a_withheld_answer_is_not_simulated(clinic: Clinic) -> None:
    information = clinic.inform()
    shown = clinic.infer(information).id
    view = opened.open_dossier(clinic.ledger, shown)
    assert view.inference is not None
    withheld = clinic.infer(information, mode=Mode.WITHHELD).id
    with pytest.raises(StepMissing, match="FirstRead"):
        check(clinic, withheld)
    # With the withheld one's features, the earlier one's simulation would tell it.
    with pytest.raises(AnswerWithheld, match="FirstRead"):
        check(clinic, shown)
    with pytest.raises(AnswerWithheld, match="FirstRead"):
        simulate(clinic, shown)
    other = clinic.infer(clinic.inform(2)).id
    simulate(clinic, other)


def test_an_objection_ends_it(clinic: Clinic) -> None:
    information = clinic.inform()
    inference = clinic.infer(information).id
    informing.object_to_use(
        clinic.ledger,
        clinic.clinician,
        information_id=information,
        objection=PatientObjected(recipient=Recipient.PATIENT),
    )
    for attempt in (check, simulate):
        with pytest.raises(Objected):
            attempt(clinic, inference)


def appended(clinic: Clinic, inference: str, **other: object) -> Draft:
    """A draft as a program past every check would append it."""
    view = opened.open_dossier(clinic.ledger, inference)
    assert view.inference is not None
    facts: dict[str, object] = {
        "type": RecordType.WHAT_IF_MADE,
        "actor": clinic.clinician,
        "outcome": "simulated",
        "body": made(view.inference),
        "sealed_for": opened.patient_of(clinic.ledger, view.information),
        "dossier": inference,
        "follows": (inference,),
        "model": view.model,
        "model_version": view.model_version,
    }
    return Draft(**{**facts, **other})  # type: ignore[arg-type]  # each is its field's


def test_the_log_itself_refuses_what_may_not_stand(clinic: Clinic) -> None:
    information = clinic.inform()
    first = clinic.infer(information).id
    other = clinic.infer(information).id
    scientist = clinic.actor("scientist", Role.DATA_SCIENTIST)
    for facts, refusal in (
        ({"outcome": "answered"}, ProtocolError),
        ({"follows": ()}, UnknownDossier),
        ({"follows": (first, other)}, UnknownDossier),
        ({"follows": (other,)}, UnknownDossier),
        ({"dossier": information, "follows": (information,)}, UnknownDossier),
        ({"model_version": "2"}, UnknownDossier),
        ({"actor": scientist}, RoleRefused),
    ):
        with pytest.raises(refusal):
            clinic.ledger.record(appended(clinic, first, **facts), None)
    with pytest.raises(StepMissing, match="FirstRead"):
        clinic.ledger.record(
            appended(clinic, first, **of(clinic.infer(information, mode=Mode.WITHHELD).id)), None
        )
    check_ledger(clinic.home)


def of(inference: str) -> dict[str, object]:
    return {"dossier": inference, "follows": (inference,)}


def test_the_log_refuses_it_of_a_suspended_model(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform()).id
    monitor = clinic.actor("watch", Role.MONITOR)
    versions.suspend(clinic.ledger, monitor, name=CARD.name, reason="drift")
    with pytest.raises(Suspended, match="drift"):
        check(clinic, inference)
    with pytest.raises(Suspended):
        simulate(clinic, inference)


def test_expired_information_lets_nothing_more_be_simulated(clinic: Clinic) -> None:
    moment = clinic.ledger.now() + 60_000
    inference = clinic.infer(clinic.inform(valid_until=moment)).id
    simulate(clinic, inference)
    clinic.ledger._clock = lambda: moment + 1
    for attempt in (check, simulate):
        with pytest.raises(NotInformed, match="expired"):
            attempt(clinic, inference)


def test_the_verifier_finds_a_simulation_by_what_was_not_registered(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    with clinic.ledger:
        simulate(clinic, clinic.infer(clinic.inform()).id, digest="cd" * 32)
    assert [finding.problem for finding in verify_home(clinic.home).findings] == [
        "the digest of what was simulated is not the one that was registered"
    ]
