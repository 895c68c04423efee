"""A promoted model on a real shelf and a real log, and patients whose inferences are recorded."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from guarantee import college, dossier, erasure, informing, versions
from guarantee.bodies import (
    Context,
    Decision,
    ErasureGround,
    FirstRead,
    InferenceMade,
    OutcomeConfirmed,
    PatientTold,
    Recipient,
)
from guarantee.card import (
    Card,
    Code,
    Kind,
    Label,
    Mode,
    MonitoringPolicy,
    Regulatory,
    Reliance,
    Responsibility,
    Text,
)
from guarantee.college_thread import QUORUM
from guarantee.home import Home
from guarantee.identity import Caller, Patient, Role, ins_key
from guarantee.ledger import Ledger
from guarantee.pseudonyms import Actor
from guarantee.records import pack_floats
from models import bundle, shelf
from models.cohorts import Cohort
from models.contract import FeatureContract
from models.served import ServedModel
from models.training import Parameters, train
from serving.inference import recordable
from tests.guarantee.clinic import CLINICIAN

NAME = "tumour-origin-made-up"
_ORIGINS = ("breast", "lung", "ovary")
_GENES = tuple(f"gene {number}" for number in range(12))
_WORDS = Text(fr="Fabriqué pour un test.", en="Made for a test.")


POLICY = MonitoringPolicy(watched_features=6, least_cases=40, window_cases=60)


def card(policy: MonitoringPolicy = POLICY) -> Card:
    """Of the made-up model."""
    return Card(
        name=NAME,
        title=_WORDS,
        intended_use=_WORDS,
        population=_WORDS,
        not_for=_WORDS,
        provenance=_WORDS,
        limits=_WORDS,
        kind=Kind.FIXED,
        reliance=Reliance.AIDED,
        regulatory=Regulatory(regulation="none", ce_marked=False),
        labels=tuple(
            Label(id=origin, words=_WORDS, codes=(Code(system="CIM-10", code="C80"),))
            for origin in _ORIGINS
        ),
        responsibilities=(Responsibility(holder="Garant", duty=_WORDS),),
        leaflet=_WORDS,
        lapse_hours=72,
        monitoring=policy,
    )


def profiles(cases: int, seed: int) -> NDArray[np.float32]:
    """(cases, 12), like those that the model was trained on."""
    draw = np.random.default_rng(seed)
    found = draw.normal(7, 1, (cases, len(_GENES)))
    found[np.arange(cases), np.arange(cases) % len(_ORIGINS)] += 3
    return found.astype(np.float32)


@dataclass(kw_only=True)
class Ward:
    """Where one model answers; `information` is the first patient's."""

    home: Home
    ledger: Ledger
    served: ServedModel
    actors: dict[Role, Actor]
    information: informing.Informed
    indices: list[int] = field(default_factory=list)
    others: list[informing.Informed] = field(default_factory=list)

    def informed(self, place: int) -> informing.Informed:
        """The information of that patient, from 0; whoever is new is informed first."""
        while len(self.others) < place:
            self.others.append(inform(self.ledger, self.actors, len(self.others) + 1))
        return self.others[place - 1] if place else self.information

    def ask(
        self,
        rows: NDArray[np.float32],
        *,
        of_first_patient: bool = False,
        first: int = 0,
        context: Context | None = None,
        mode: Mode = Mode.SHOWN,
    ) -> None:
        """Record an inference a row, of one patient after another or all of the first.

        Args:
            first: The number of the first row's patient.
        """
        version = versions.registered_version(self.ledger, NAME, self.served.version)
        for place, row in enumerate(rows):
            information = self.informed(0 if of_first_patient else first + place)
            given = self.served.answer(self.served.contract.profile(row.astype(np.float64)))
            recorded = dossier.record_inference(
                self.ledger,
                self.actors[Role.CLINICIAN],
                pseudonym=information.pseudonym,
                inference=InferenceMade(
                    information_id=information.recorded.id,
                    mode=mode,
                    context=context,
                    profile=pack_floats(given.profile.values),
                    version_digest=self.served.digest,
                    platform="test",
                    answer=recordable(given),
                ),
                version=version,
            )
            self.indices.append(recorded.index)

    def follow(
        self,
        index: int,
        *,
        truth: str | None,
        first_read: str | None = None,
        decision: Decision = Decision.ACCEPTED,
    ) -> None:
        """Decide on that inference, tell the patient, and confirm the outcome, if any.

        Args:
            index: Of the inference, zero-based in the log.
            first_read: Where the answer was withheld.
        """
        inference = self.ledger.page(index, 1)[0].id
        clinician = self.actor(Role.CLINICIAN)
        if first_read is not None:
            read = FirstRead(label=first_read)
            dossier.read_first(self.ledger, clinician, dossier=inference, read=read)
        dossier.sign_decision(
            self.ledger,
            clinician,
            CLINICIAN,
            dossier=inference,
            decision=decision,
            label=None,
            reason=None,
        )
        if truth is None:
            return
        dossier.tell_patient(
            self.ledger,
            clinician,
            dossier=inference,
            told=PatientTold(recipient=Recipient.PATIENT, interpretation="Dit."),
        )
        outcome = OutcomeConfirmed(label=truth, source="pathology")
        dossier.confirm_outcome(self.ledger, clinician, dossier=inference, outcome=outcome)

    def answered(self, cases: int, seed: int) -> tuple[NDArray[np.float32], list[str]]:
        """Profiles on which the model does not abstain, and the label that it answers to each."""
        rows: list[NDArray[np.float32]] = []
        labels = []
        for row in profiles(6 * cases, seed):
            answer = self.served.answer(self.served.contract.profile(row.astype(np.float64)))
            if answer.abstention is None and len(rows) < cases:
                rows.append(row)
                labels.append(answer.label)
        assert len(rows) == cases
        return np.array(rows), labels

    def actor(self, role: Role) -> Actor:
        """Somebody of that role."""
        return self.actors[role]


def caller(role: Role, subject: str = "1") -> Caller:
    """Somebody of that role, as a token names them."""
    return Caller(issuer="test", subject=f"{role} {subject}", role=role)


@pytest.fixture
def policy() -> MonitoringPolicy:
    """The model's; a file of tests may have another one."""
    return POLICY


@pytest.fixture
def ward(tmp_path: Path, policy: MonitoringPolicy) -> Iterator[Ward]:
    """A promoted model, and a patient informed of it."""
    home = Home(tmp_path / "home")
    cohort = Cohort(
        contract=FeatureContract.of(_GENES, unit="log2 intensity"),
        profiles=profiles(240, 0),
        labels=tuple(_ORIGINS[case % len(_ORIGINS)] for case in range(240)),
        ids=tuple(f"sample {case}" for case in range(240)),
    )
    training = train(cohort, card(policy), Parameters(rounds=10, threads=1))
    digest = bundle.write(training.bundle, tmp_path / "bundle")
    shelf.lay(home, tmp_path / "bundle", name=NAME, version="1", digest=digest)
    served = shelf.load(home, name=NAME, version="1", digest=digest)
    with Ledger.open(home) as ledger:
        actors = {role: ledger.people.actor(caller(role)) for role in Role}
        versions.register_model(
            ledger,
            actors[Role.DATA_SCIENTIST],
            card=served.card,
            version="1",
            digest=digest,
            run="1",
        )
        for profession in QUORUM:
            member = ledger.people.actor(caller(Role.COLLEGE, profession))
            college.appoint(ledger, actors[Role.COLLEGE], member=member, profession=profession)
            college.vote(ledger, member, name=NAME, version="1", in_favour=True)
        versions.promote(ledger, actors[Role.DATA_SCIENTIST], name=NAME, version="1")
        information = inform(ledger, actors, 0)
        yield Ward(home=home, ledger=ledger, served=served, actors=actors, information=information)


def inform(ledger: Ledger, actors: dict[Role, Actor], number: int) -> informing.Informed:
    """Tell a patient that the model will be used."""
    return informing.inform(
        ledger,
        actors[Role.CLINICIAN],
        patient=somebody(number),
        recipient=Recipient.PATIENT,
        models=[NAME],
        valid_until=None,
    )


def somebody(number: int) -> Patient:
    matricule = f"28501{number:08d}"
    return Patient(
        matricule=matricule,
        key=ins_key(matricule),
        oid="1.2.250.1.213.1.4.10",
        birth_name="ESSAI",
        given_names="ANNE",
        birth_date=date(1985, 1, 1),
        sex="F",
        birth_place="99999",
        qualified=True,
    )


def erase(ward: Ward, pseudonym: str) -> None:
    """Have a patient erased."""
    erasure.erase(
        ward.ledger,
        ward.actor(Role.DPO),
        pseudonym=pseudonym,
        ground=ErasureGround.COURT_ORDER,
    )
