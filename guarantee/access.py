"""Who may read what was recorded on a patient, and what the patient is told of it.

Those who care for the patient read without more ado: reading is part of the care that the records
show already. Everyone else says why, and that is on record before they read.

Source: CSP L. 1110-4 (the care team, professional secrecy), L. 4001-3, II; GDPR, article 15.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import isnan
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from guarantee.appending import Request
from guarantee.bodies import (
    Answer,
    Body,
    DecisionSigned,
    InferenceMade,
    Purpose,
    SampleDrawn,
    WhatIfMade,
)
from guarantee.card import Card, Text
from guarantee.custody import Holding, holding, of_subject, record_access, record_patient_access
from guarantee.errors import GuaranteeError
from guarantee.identity import Patient, Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.opened import DossierView, check_cares, open_dossier
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType, unpack_floats
from guarantee.situations import Draw, DrawStep, Information, Member, Step
from guarantee.versions import RegisteredVersion, registered_version

PURPOSES: Final[dict[Role, tuple[Purpose, ...]]] = {
    Role.COLLEGE: (Purpose.REVIEW, Purpose.AUDIT),
    Role.DPO: (Purpose.PATIENT_REQUEST, Purpose.AUDIT, Purpose.LITIGATION),
}
"""What those who do not care for the patient may read a dossier for."""

FeatureNames = Callable[[RegisteredVersion], Sequence[str] | None]
"""The names of a version's features in the order of its profiles, where they are known."""


class NotEntitled(GuaranteeError):
    """The dossier is not for this reader; the message names the way there is, if any."""


class PurposeMissing(GuaranteeError):
    """The reader does not care for the patient, and says no purpose that their role may have."""


def read_dossier(
    ledger: Ledger, actor: Actor, *, dossier: str, purpose: Purpose | None = None
) -> DossierView:
    """One inference and all that followed it, for those entitled.

    Clinicians to whom it is open read it for care: see `opened.check_cares`. A member of the
    college reads cases that were drawn; the data protection officer every one. Those two say why,
    and it is recorded before this returns.

    Raises:
        UnknownDossier: No such inference.
        Erased: The patient's records were erased.
        NotCaring: The actor is a clinician to whom it is not open.
        NotEntitled: Not for this reader.
        PurposeMissing: Say why.
        VaultError: A stored body or key was altered.
    """
    view = open_dossier(ledger, dossier)
    match actor.role:
        case Role.CLINICIAN:
            check_cares(ledger, actor, dossier)
            return view
        case Role.COLLEGE:
            _check_drawn(ledger, actor, dossier)
        case Role.DPO:
            pass
        case _:
            raise NotEntitled(f"dossiers are not for the role {actor.role}")
    record_access(ledger, actor, dossier=dossier, purpose=_stated(actor, purpose))
    return view


def _check_drawn(ledger: Ledger, actor: Actor, dossier: str) -> None:
    if ledger.get(Member, actor.pseudonym) is None:
        raise NotEntitled("you have no seat in the college")
    for _, draw in ledger.situations(Draw, [DrawStep.DRAWN]):
        sample = ledger.open_as(ledger.find(draw.drawn or ""), SampleDrawn)
        if dossier in sample.dossiers:
            return
    raise NotEntitled("the college reads cases that were drawn, and this one was not")


def _stated(actor: Actor, purpose: Purpose | None) -> Purpose:
    allowed = PURPOSES.get(actor.role, ())
    if purpose is None or purpose not in allowed:
        raise PurposeMissing(f"say why you read it: one of {', '.join(allowed)}")
    return purpose


# What the patient is told


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class Person(_Told):
    """Somebody who acted, as far as the house knows them."""

    role: Role
    name: str | None
    number: str | None = Field(description="Of clinicians, the RPPS number")


class Entry(_Told):
    """One record, in clear."""

    record_id: str
    index: int = Field(description="Its zero-based place in the log")
    type: RecordType
    at: datetime
    by: Person
    whom: Person | None = Field(description="Who was brought into the care")
    outcome: str
    until: datetime | None = Field(description="When an information, or a broken glass, ends")
    facts: dict[str, JsonValue] | None = Field(
        description="What it says; none of an answer that is withheld until a clinician has "
        "read alone"
    )


class InformationEntry(Entry):
    """One information of the patient, and what became of it."""

    models: tuple[str, ...]
    standing: str


class DossierEntry(_Told):
    """One inference and all that followed."""

    inference_id: str
    model: str
    model_version: str
    title: Text
    answer: Text | None = Field(
        description="The answer in words, or that the model abstained; none while it is withheld"
    )
    step: Step
    records: tuple[Entry, ...]


class PatientReport(_Told):
    """Everything that the vault holds on a patient, in clear, and who read it."""

    pseudonym: str
    access_id: str = Field(description="The record of this very access")
    identity: Patient
    on_hold: bool = Field(description="Whether a legal hold keeps the records from erasure")
    informations: tuple[InformationEntry, ...]
    dossiers: tuple[DossierEntry, ...]
    custody: tuple[Entry, ...] = Field(description="Objections, rectifications and holds")
    accesses: tuple[Entry, ...] = Field(
        description="Who read the records outside of their own care, or was brought into it, "
        "and why; the last is this one"
    )


def patient_access(
    ledger: Ledger,
    actor: Actor,
    *,
    pseudonym: str,
    purpose: Purpose = Purpose.PATIENT_REQUEST,
    names: FeatureNames = lambda _: None,
    request: Request | None = None,
) -> PatientReport:
    """Everything that the vault holds on a patient; that it was read is recorded first.

    An answer that is withheld stays so, as on every way. Tokens and issuers' keys, by which
    decisions were attested, are left out: they are the clinicians'.

    Raises:
        UnknownPerson: Nothing is held on a patient of that pseudonym.
        Erased: Nothing is any more.
        PurposeMissing: Not a purpose of the actor's role.
        RoleRefused: The actor is no data protection officer.
        VaultError: A stored body or key was altered.
    """
    if actor.role is not Role.DPO:
        raise NotEntitled("all that is held on a patient is for the data protection officer")
    access = record_patient_access(
        ledger, actor, pseudonym=pseudonym, purpose=_stated(actor, purpose), request=request
    )
    held = holding(ledger, pseudonym)
    tell = _Teller(ledger, names)
    informations = {key: ledger.get(Information, key) for key in held.informations}
    return PatientReport(
        pseudonym=pseudonym,
        access_id=access.id,
        identity=ledger.people.patient_named(pseudonym),
        on_hold=any(one is not None and one.held for one in informations.values()),
        informations=tuple(
            InformationEntry(
                **dict(tell.entry(one)),
                models=one.header.models or (),
                standing=standing.step if (standing := informations[one.id]) else "",
            )
            for one in held.records
            if one.id in informations
        ),
        dossiers=tuple(tell.dossier(key) for key in held.dossiers),
        custody=tuple(tell.entry(one) for one in _about(ledger, held)),
        accesses=tuple(tell.entry(one) for one in _accesses(ledger, held)),
    )


def _about(ledger: Ledger, held: Holding) -> list[Recorded]:
    with ledger.store.reading() as connection:
        holds = of_subject(connection, held.pseudonym, RecordType.HOLD_PLACED)
    own = [
        one
        for one in held.records
        if one.header.type in (RecordType.PATIENT_OBJECTED, RecordType.PATIENT_RECTIFIED)
    ]
    return sorted((*own, *holds), key=lambda one: one.index)


def _accesses(ledger: Ledger, held: Holding) -> list[Recorded]:
    with ledger.store.reading() as connection:
        whole = of_subject(connection, held.pseudonym, RecordType.ACCESS_RECORDED)
    readings = (RecordType.ACCESS_RECORDED, RecordType.BREAK_GLASS, RecordType.CARE_SHARED)
    single = [
        one
        for dossier in held.dossiers
        for one in ledger.thread(dossier)
        if one.header.type in readings
    ]
    return sorted((*whole, *single), key=lambda one: one.index)


def _in_words(card: Card, answer: Answer) -> Text:
    return card.label(answer.label).words if answer.abstention is None else answer.abstention.words


class _Teller:
    """Tells records in clear; remembers who is who."""

    def __init__(self, ledger: Ledger, names: FeatureNames) -> None:
        self._ledger = ledger
        self._names = names
        self._people: dict[tuple[str, Role], Person] = {}

    def entry(self, recorded: Recorded) -> Entry:
        """One record, opened."""
        return self._told(recorded, self._ledger.open_body(recorded), None)

    def dossier(self, key: str) -> DossierEntry:
        """One dossier, its answer closed while it is withheld."""
        view = open_dossier(self._ledger, key)
        version = registered_version(self._ledger, view.model, view.model_version)
        shown = view.inference
        return DossierEntry(
            inference_id=key,
            model=view.model,
            model_version=view.model_version,
            title=version.card.title,
            answer=_in_words(version.card, shown.answer) if shown else None,
            step=view.step,
            records=tuple(self._told(one.recorded, one.body, version) for one in view.events),
        )

    def _told(
        self, recorded: Recorded, body: Body | None, version: RegisteredVersion | None
    ) -> Entry:
        header = recorded.header
        return Entry(
            record_id=recorded.id,
            index=recorded.index,
            type=header.type,
            at=_instant(header.time),
            by=self._person(header.actor, header.role),
            whom=(
                self._person(header.subject, Role.CLINICIAN)
                if header.type is RecordType.CARE_SHARED and header.subject
                else None
            ),
            outcome=header.outcome,
            until=None if header.valid_until is None else _instant(header.valid_until),
            facts=None if body is None else self._facts(body, version),
        )

    def _facts(self, body: Body, version: RegisteredVersion | None) -> dict[str, JsonValue]:
        if isinstance(body, DecisionSigned):
            return body.model_dump(mode="json", exclude={"attestation", "issuer_key"})
        facts: dict[str, JsonValue] = body.model_dump(mode="json")
        if isinstance(body, InferenceMade | WhatIfMade):
            names = self._names(version) if version is not None else None
            facts["profile"] = _by_name(body.profile, names)
            facts["answer"] = {
                **body.answer.model_dump(mode="json"),
                "probabilities": _numbers(body.answer.probabilities),
                "margins": _numbers(body.answer.margins),
                "base_values": _numbers(body.answer.base_values),
                "contributions": _by_name(body.answer.contributions, names),
            }
            if isinstance(body, WhatIfMade):
                facts["contributions"] = _by_name(body.contributions, names)
        return facts

    def _person(self, pseudonym: str, role: Role) -> Person:
        if (pseudonym, role) not in self._people:
            known = self._ledger.people.actor_named(pseudonym)
            number = known.subject if role is Role.CLINICIAN else None
            self._people[pseudonym, role] = Person(role=role, name=known.name, number=number)
        return self._people[pseudonym, role]


def _numbers(packed: str) -> list[JsonValue]:
    return [None if isnan(value) else value for value in unpack_floats(packed)]


def _by_name(packed: str, names: Sequence[str] | None) -> JsonValue:
    numbers = _numbers(packed)
    return numbers if names is None else dict(zip(names, numbers, strict=True))


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
