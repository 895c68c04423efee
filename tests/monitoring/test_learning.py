"""A learning model in a real MLflow, on a real shelf and log, updated by what was confirmed."""

import csv
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from numpy.typing import NDArray
from typer.testing import CliRunner

from guarantee import college, dossier, erasure, informing, versions
from guarantee.bodies import (
    Context,
    Decision,
    ErasureGround,
    InferenceMade,
    ModelUpdated,
    OutcomeConfirmed,
    PatientObjected,
    PatientTold,
    Recipient,
)
from guarantee.card import Card, ChangeProtocol, Kind, Mode, Text
from guarantee.college_thread import QUORUM
from guarantee.home import Home
from guarantee.identity import Caller, Role
from guarantee.ledger import Ledger
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType, pack_floats
from guarantee.refusals import RoleRefused
from guarantee.reuse import reusable
from guarantee.signature import PublicKey
from guarantee.verify import verify_home
from models import registry, shelf
from models.cohorts import Cohort
from models.contract import FeatureContract
from models.learning import OtherCohort
from models.promotion import promote_version, record_registration, roll_back
from models.training import Parameters, train
from monitoring.learning import RolledBack, TooFewOutcomes, Updated, update
from monitoring.learning_commands import app
from serving.inference import recordable
from tests.monitoring.conftest import NAME, caller, card, somebody

_WORDS = Text(fr="Fabriqué pour un test.", en="Made for a test.")
_GENES = tuple(f"gene {number}" for number in range(12))
_KNOWN = ("breast", "lung", "ovary")
_NEW = "kidney"
_KEY = ECKey.generate_key("P-256")

PROTOCOL = ChangeProtocol(
    data=_WORDS,
    least_new_cases=16,
    window_cases=8,
    least_locked_cases=20,
    least_accuracy_gained=0.2,
    most_accuracy_lost=0.05,
    most_flipped_share=0.1,
    new_labels=(
        card().labels[0].model_copy(update={"id": _NEW}),
        card().labels[0].model_copy(update={"id": "never met"}),
    ),
    new_labels_from_cases=8,
)


def cases(labels: tuple[str, ...], seed: int) -> NDArray[np.float32]:
    """One profile a label, of which one gene says which it is."""
    draw = np.random.default_rng(seed)
    found = draw.normal(7, 1, (len(labels), len(_GENES)))
    for row, label in enumerate(labels):
        found[row, (*_KNOWN, _NEW).index(label)] += 5
    return found.astype(np.float32)


def learning_card(protocol: ChangeProtocol = PROTOCOL) -> Card:
    return card().model_copy(update={"kind": Kind.LEARNING, "change_protocol": protocol})


def cohort(seed: int = 0) -> Cohort:
    labels = _KNOWN * 40
    return Cohort(
        contract=FeatureContract.of(_GENES, unit="log2 intensity"),
        profiles=cases(labels, seed),
        labels=labels,
        ids=tuple(f"sample {case}" for case in range(len(labels))),
        sites=tuple(f"hospital {case % 2}" for case in range(len(labels))),
    )


@dataclass(kw_only=True)
class House:
    """Where the model learns; patients are numbered from 0."""

    home: Home
    ledger: Ledger
    scientist: Actor
    clinician: Actor
    informations: list[str]

    def go_through(self, labels: tuple[str, ...], *, seed: int, reuse: bool = True) -> None:
        """Patients informed, asked about, decided on, told, and their outcomes confirmed."""
        serving = versions.standing(self.ledger, NAME).check_serving()
        served = shelf.load(self.home, name=NAME, version=serving.version, digest=serving.digest)
        for label, row in zip(labels, cases(labels, seed), strict=True):
            informed = informing.inform(
                self.ledger,
                self.clinician,
                patient=somebody(len(self.informations)),
                recipient=Recipient.PATIENT,
                models=[NAME],
                valid_until=None,
                reuse=reuse,
            )
            self.informations.append(informed.recorded.id)
            given = served.answer(served.contract.profile(row.astype(np.float64)))
            inference = dossier.record_inference(
                self.ledger,
                self.clinician,
                pseudonym=informed.pseudonym,
                inference=InferenceMade(
                    information_id=informed.recorded.id,
                    mode=Mode.SHOWN,
                    profile=pack_floats(given.profile.values),
                    version_digest=served.digest,
                    platform="test",
                    context=Context(hospital="hospital 2"),
                    answer=recordable(given),
                ),
                version=serving,
            ).id
            assert self.ledger.find(inference).header.model_version == serving.version
            dossier.sign_decision(
                self.ledger,
                self.clinician,
                _clinician(),
                dossier=inference,
                decision=Decision.DISREGARDED,
                label=None,
                reason=None,
            )
            told = PatientTold(recipient=Recipient.PATIENT, interpretation="As pathology says.")
            dossier.tell_patient(self.ledger, self.clinician, dossier=inference, told=told)
            dossier.confirm_outcome(
                self.ledger,
                self.clinician,
                dossier=inference,
                outcome=OutcomeConfirmed(label=label, source="pathology"),
            )

    def update(self, of: Cohort | None = None) -> Updated:
        return update(
            self.ledger, self.home, self.scientist, name=NAME, cohort=lambda: of or cohort()
        )

    def answering(self) -> str:
        return versions.standing(self.ledger, NAME).check_serving().version

    def check(self) -> None:
        report = verify_home(self.home)
        assert report.verified, [str(finding) for finding in report.findings]


def _clinician() -> Caller:
    token = jwt.encode(
        {"alg": "ES256"},
        {"iss": "test", "sub": "c", "iat": time.time() - 5, "exp": time.time() + 3600},
        _KEY,
    )
    return Caller(
        issuer="test",
        subject="c",
        role=Role.CLINICIAN,
        attestation=token,
        issuer_key=PublicKey.of(_KEY).jwk,
    )


@pytest.fixture
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    """A learning model, approved with its change protocol, promoted; nothing confirmed yet."""
    protocol = getattr(request, "param", PROTOCOL)
    home = Home(tmp_path / "home")
    quick = Parameters(
        rounds=10, threads=1, folds=2, site_folds=0, forward_parts=0, held_out_share=0.2
    )
    training = train(cohort(), learning_card(protocol), quick)
    registered = registry.register(home, registry.log(home, training))
    with Ledger.open(home) as ledger:
        scientist = ledger.people.actor(caller(Role.DATA_SCIENTIST))
        record_registration(home, ledger, scientist, name=NAME, version=registered.version)
        founder = ledger.people.actor(caller(Role.COLLEGE))
        for profession in QUORUM:
            member = ledger.people.actor(caller(Role.COLLEGE, profession))
            college.appoint(ledger, founder, member=member, profession=profession)
            college.vote(ledger, member, name=NAME, version="1", in_favour=True)
        promote_version(home, ledger, scientist, name=NAME, version="1")
        yield House(
            home=home,
            ledger=ledger,
            scientist=scientist,
            clinician=ledger.people.actor(_clinician()),
            informations=[],
        )


def test_an_update_inside_the_bounds_answers_at_once_and_a_repeat_changes_nothing(
    house: House,
) -> None:
    house.go_through((*_KNOWN, _NEW, _NEW) * 6, seed=1)
    updated = house.update()
    assert updated.reasons == ()
    assert (house.answering(), updated.version) == ("2", "2")
    learned = updated.learned
    assert (learned.new_cases, learned.cases) == (22, 22 + 96)
    assert learned.window.cases == 8
    assert learned.window.right_after > learned.window.right_before
    (recorded,) = house.ledger.latest(RecordType.MODEL_UPDATED)
    body = house.ledger.open_as(recorded, ModelUpdated)
    assert (body.new_cases, body.cases_sha256) == (22, learned.cases_sha256)
    labels = [
        label.id for label in versions.registered_version(house.ledger, NAME, "2").card.labels
    ]
    assert labels == [*_KNOWN, _NEW]

    before = house.ledger.head().size
    with pytest.raises(TooFewOutcomes, match="0 new cases"):
        house.update()
    assert house.ledger.head().size == before
    house.go_through((_NEW,), seed=2)  # the new version answers, and the record says which
    house.check()


@pytest.mark.parametrize(
    "house", [PROTOCOL.model_copy(update={"least_accuracy_gained": 1.0})], indirect=True
)
def test_an_update_beyond_a_bound_waits_for_the_college_and_says_why(house: House) -> None:
    house.go_through((*_KNOWN, _NEW, _NEW) * 6, seed=1)
    updated = house.update()
    (reason,) = updated.reasons
    assert "less is gained than 100.0%" in reason
    assert house.answering() == "1"
    assert versions.registered_version(house.ledger, NAME, "2").missing
    assert house.ledger.latest(RecordType.MODEL_UPDATED) == []

    before = house.ledger.head().size
    assert house.update().version == "2"
    assert house.ledger.head().size == before
    for profession in QUORUM:
        member = house.ledger.people.actor(caller(Role.COLLEGE, profession))
        college.vote(house.ledger, member, name=NAME, version="2", in_favour=True)
    promote_version(house.home, house.ledger, house.scientist, name=NAME, version="2")
    assert house.answering() == "2"
    house.check()


def test_who_was_not_told_refuses_objects_or_was_erased_is_left_out(house: House) -> None:
    house.go_through(_KNOWN * 8, seed=1)
    house.go_through(_KNOWN, seed=2, reuse=False)
    refusing, objecting, erased = house.informations[:3]
    for information, reuse_only in ((refusing, True), (objecting, False)):
        informing.object_to_use(
            house.ledger,
            house.clinician,
            information_id=information,
            objection=PatientObjected(recipient=Recipient.PATIENT, reuse_only=reuse_only),
        )
    gone = house.ledger.sealed_for(erased)
    assert gone is not None
    erasure.erase(
        house.ledger,
        house.ledger.people.actor(caller(Role.DPO)),
        pseudonym=gone,
        ground=ErasureGround.COURT_ORDER,
    )
    found = reusable(house.ledger, NAME, ["1"])
    assert (len(found.outcomes), found.kept_out) == (24 - 3, 3 + 2)
    with pytest.raises(TooFewOutcomes, match="13 new cases beside a window of 8"):
        house.update()


def test_a_version_rolled_back_does_not_answer_again_by_the_same_update(house: House) -> None:
    house.go_through((*_KNOWN, _NEW, _NEW) * 6, seed=1)
    house.update()
    roll_back(house.home, house.ledger, house.scientist, name=NAME, reason="Doubted.")
    with pytest.raises(RolledBack):
        house.update()
    assert house.answering() == "1"
    house.check()


def test_another_cohort_than_the_first_version_s_is_refused(house: House) -> None:
    house.go_through((*_KNOWN, _NEW, _NEW) * 6, seed=1)
    with pytest.raises(OtherCohort):
        house.update(cohort(seed=3))


def test_only_a_data_scientist_updates(house: House) -> None:
    with pytest.raises(RoleRefused):
        update(house.ledger, house.home, house.clinician, name=NAME, cohort=cohort)


def test_the_command_says_what_is_missing_and_then_what_answers(
    house: House, tmp_path: Path
) -> None:
    file = tmp_path / "cohort.csv"
    _write(cohort(), file)
    house.go_through(_KNOWN, seed=1)
    code, said = _update(house, file)
    assert code == 1
    assert "0 new cases beside a window of 3" in said
    house.go_through((*_KNOWN, _NEW, _NEW) * 6, seed=2)
    code, said = _update(house, file)
    assert code == 0
    learned = versions.registered_version(house.ledger, NAME, "2").learned
    assert learned is not None
    assert (
        f"{NAME} 2 learned from 121 cases, 25 of them new; SHA-256 {learned.cases_sha256}" in said
    )
    assert "locked set: 24 cases: accuracy" in said
    assert "of the explanations' weight lies on other features" in said
    assert f"Inside the change protocol: {NAME} 2 answers." in said
    (page,) = house.home.monitoring.glob("*.html")
    html = page.read_text()
    assert f"{learned.cases} cases, {learned.new_cases} of them new" in html
    assert "répond" in html
    assert not re.search(r"(src|href)=", html)
    assert not any(str(house.ledger.sealed_for(one)) in html for one in house.informations)
    assert not any(str(house.ledger.sealed_for(one)) in said for one in house.informations)


def _update(house: House, file: Path) -> tuple[int, str]:
    result = CliRunner().invoke(
        app,
        ["update", NAME, "--home", str(house.home.path), "--token", "t", "--cohort", str(file)],
        obj=lambda _home, _token: caller(Role.DATA_SCIENTIST),
    )
    return result.exit_code, " ".join(result.output.split())


def _write(cohort: Cohort, file: Path) -> None:
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "label", "site", *_GENES])
        sites = cohort.sites or ()
        for name, label, site, row in zip(
            cohort.ids, cohort.labels, sites, cohort.profiles.tolist(), strict=True
        ):
            table.writerow([name, label, site, *row])
