"""A clinic in a folder: a log with one model approved and promoted, a patient, a clinician."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from guarantee import college, dossier, informing, versions
from guarantee.abstention import ABSTAINED, Abstention
from guarantee.appending import Request
from guarantee.bodies import (
    Answer,
    Decision,
    InferenceMade,
    OutcomeConfirmed,
    PatientTold,
    Recipient,
)
from guarantee.card import Card, Code, Kind, Label, Mode, Regulatory, Reliance, Responsibility, Text
from guarantee.home import Home
from guarantee.identity import Caller, Patient, Profession, Role, ins_key
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import pack_floats
from guarantee.signature import PublicKey, private_key, sign_detached
from guarantee.signing_keys import SignatureNeeded, register_key
from guarantee.verify import verify_home

T = TypeVar("T")


def text(words: str) -> Text:
    return Text(fr=f"{words} (fr)", en=words)


CARD = Card(
    name="origin-of-test",
    title=text("Origin of a tumour"),
    intended_use=text("Helps to name the origin."),
    population=text("Adults."),
    not_for=text("Screening."),
    provenance=text("Synthetic."),
    limits=text("Knows two origins."),
    kind=Kind.FIXED,
    reliance=Reliance.AIDED,
    regulatory=Regulatory(regulation="none", ce_marked=False),
    labels=(
        Label(id="BREAST", words=text("breast"), codes=(Code(system="ICD-O-3", code="C50"),)),
        Label(id="LUNG", words=text("lung"), codes=(Code(system="ICD-O-3", code="C34"),)),
    ),
    responsibilities=(Responsibility(holder="Maker", duty=text("Makes it.")),),
    leaflet=text("A computer compares your tumour with others."),
    lapse_hours=72,
)

DIGEST = "ab" * 32
ISSUER = "https://issuer.test"
ISSUER_KEY = ECKey.generate_key("P-256")


def caller(subject: str, role: Role) -> Caller:
    token = jwt.encode(
        {"alg": "ES256"},
        {"iss": ISSUER, "sub": subject, "iat": time.time() - 5, "exp": time.time() + 3600},
        ISSUER_KEY,
    )
    return Caller(
        issuer=ISSUER,
        subject=subject,
        role=role,
        attestation=token,
        issuer_key=PublicKey.of(ISSUER_KEY).jwk,
    )


CLINICIAN = caller("899700000001", Role.CLINICIAN)


def patient(number: int = 1) -> Patient:
    matricule = f"27505751{number:05d}"
    return Patient(
        matricule=matricule,
        key=ins_key(matricule),
        oid="1.2.250.1.213.1.4.10",
        birth_name="ZÉNITH-TESTEUR",
        given_names="Ariane Lou",
        birth_date=date(1975, 5, 12),
        sex="F",
        birth_place="75101",
        qualified=True,
    )


@dataclass
class Clinic:
    """What most tests need to start from."""

    home: Home
    ledger: Ledger
    clinician: Actor

    @classmethod
    def opened(cls, where: Home | Path) -> "Clinic":
        home = where if isinstance(where, Home) else Home(where)
        ledger = Ledger.open(home)
        return cls(home, ledger, ledger.people.actor(CLINICIAN))

    @classmethod
    def founded(cls, where: Home | Path) -> "Clinic":
        clinic = cls.opened(where)
        clinic.register("1")
        for profession in list(Profession)[:3]:
            member = clinic.actor(f"member-{profession}", Role.COLLEGE)
            college.appoint(clinic.ledger, member, member=member, profession=profession)
            college.vote(clinic.ledger, member, name=CARD.name, version="1", in_favour=True)
        versions.promote(clinic.ledger, clinic.scientist, name=CARD.name, version="1")
        return clinic

    @property
    def scientist(self) -> Actor:
        return self.actor("scientist", Role.DATA_SCIENTIST)

    def actor(self, subject: str, role: Role) -> Actor:
        return self.ledger.people.actor(caller(subject, role))

    def register(self, version: str) -> Recorded:
        return versions.register_model(
            self.ledger, self.scientist, card=CARD, version=version, digest=DIGEST, run="run"
        )

    def inform(self, number: int = 1, valid_until: int | None = None) -> str:
        informed = informing.inform(
            self.ledger,
            self.clinician,
            patient=patient(number),
            recipient=Recipient.PATIENT,
            models=[CARD.name],
            valid_until=valid_until,
        )
        return informed.recorded.id

    def infer(
        self,
        information: str,
        *,
        mode: Mode = Mode.SHOWN,
        abstention: Abstention | None = None,
        request: Request | None = None,
    ) -> Recorded:
        pseudonym = informing.check_informed(self.ledger, information, CARD.name, at=0)
        return dossier.record_inference(
            self.ledger,
            self.clinician,
            pseudonym=pseudonym,
            inference=InferenceMade(
                information_id=information,
                mode=mode,
                profile=pack_floats([1.0, 2.0, float("nan")]),
                version_digest=DIGEST,
                platform="test",
                answer=Answer(
                    label="BREAST",
                    probability=0.8,
                    probabilities=pack_floats([0.8, 0.2]),
                    margins=pack_floats([1.0, -0.4]),
                    base_values=pack_floats([0.0, 0.0]),
                    contributions=pack_floats([0.6, 0.4, 0.0]),
                    prediction_set=("BREAST",),
                    flags=(ABSTAINED,) if abstention else (),
                    abstention=abstention,
                    missing_features=("third",),
                ),
            ),
            version=versions.registered_version(self.ledger, CARD.name, "1"),
            request=request,
        )

    def decide(
        self,
        inference: str,
        decision: Decision = Decision.ACCEPTED,
        label: str | None = None,
        reason: str | None = None,
        request: Request | None = None,
    ) -> Recorded:
        return dossier.sign_decision(
            self.ledger,
            self.clinician,
            CLINICIAN,
            dossier=inference,
            decision=decision,
            label=label,
            reason=reason,
            request=request,
        )

    def tell(self, inference: str) -> Recorded:
        told = PatientTold(recipient=Recipient.PATIENT, interpretation="It began in the breast.")
        return dossier.tell_patient(self.ledger, self.clinician, dossier=inference, told=told)

    def confirm(self, inference: str) -> Recorded:
        outcome = OutcomeConfirmed(label="BREAST", source="pathology")
        return dossier.confirm_outcome(
            self.ledger, self.clinician, dossier=inference, outcome=outcome
        )

    def whole_dossier(self, number: int = 1) -> str:
        inference = self.infer(self.inform(number)).id
        self.decide(inference)
        self.tell(inference)
        self.confirm(inference)
        return inference


def with_key(private: str, act: Callable[[str | None], T]) -> T:
    """Act as whoever holds that key: asked without a signature, told what to sign, asked again."""
    with pytest.raises(SignatureNeeded) as needed:
        act(None)
    return act(sign_detached(needed.value.payload.encode(), private))


def own_key(ledger: Ledger, actor: Actor, private: str, *, standing: str | None = None) -> Recorded:
    """Register the key; `standing` is the private key that it replaces."""
    key = PublicKey.of(private_key(private))
    with pytest.raises(SignatureNeeded) as needed:
        register_key(ledger, actor, key=key)
    payload = needed.value.payload.encode()
    return register_key(
        ledger,
        actor,
        key=key,
        proof=sign_detached(payload, private),
        endorsement=None if standing is None else sign_detached(payload, standing),
    )


def check_ledger(home: Home) -> None:
    """Reread and recheck everything."""
    report = verify_home(home)
    assert report.verified, [str(finding) for finding in report.findings]
