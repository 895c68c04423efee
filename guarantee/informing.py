"""The patient's gate: informed, or why not yet; refused; checked before a model is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from guarantee.appending import Draft, Request
from guarantee.bodies import (
    InformationDeferred,
    PatientInformed,
    PatientObjected,
    Recipient,
)
from guarantee.card import Language
from guarantee.clinical_thread import REUSE_REFUSED
from guarantee.gathering import followed_by
from guarantee.identity import Patient
from guarantee.leaflet import leaflet_digest
from guarantee.ledger import Ledger
from guarantee.logged import Recorded, informations_in
from guarantee.opened import patient_of
from guarantee.pseudonyms import Actor
from guarantee.records import Header, RecordType
from guarantee.refusals import (
    Erased,
    InformedMeanwhile,
    NotInformed,
    Objected,
)
from guarantee.situations import Gate, Information
from guarantee.versions import RegisteredVersion, standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Informed:
    """A patient's information, and the pseudonym that the clinician's software may keep."""

    recorded: Recorded
    pseudonym: str


def inform(
    ledger: Ledger,
    actor: Actor,
    *,
    patient: Patient,
    recipient: Recipient,
    models: Sequence[str],
    valid_until: int | None,
    recipient_name: str | None = None,
    language: Language = Language.FRENCH,
    reuse: bool = False,
    request: Request | None = None,
) -> Informed:
    """Record that a patient was told that an AI will be used, and which.

    Args:
        models: Names of the models that they were told of.
        reuse: Whether they were told of training on their records, and that they may refuse it.
        valid_until: When the information ends, in milliseconds since 1970; none: never.

    Raises:
        UnknownModel: One of the models is not registered.
        NotServing: One of them has no promoted version, and so no leaflet.
        Suspended: One of them was stopped.
        IdentityMismatch: That INS is known under other traits.
    """
    cards = {name: _leaflet_version(ledger, name).card for name in models}
    pseudonym = ledger.people.patient(patient)
    body = PatientInformed(
        recipient=recipient,
        recipient_name=recipient_name,
        language=language,
        reuse=reuse,
        leaflet_sha256={name: leaflet_digest(card, language) for name, card in cards.items()},
    )
    recorded = ledger.record(
        Draft(
            type=RecordType.PATIENT_INFORMED,
            actor=actor,
            outcome=Gate.INFORMED,
            body=body,
            sealed_for=pseudonym,
            follows=followed_by(ledger, actor, _deferred(ledger, pseudonym, models)),
            models=tuple(models),
            valid_until=valid_until,
        ),
        request,
    )
    return Informed(recorded=recorded, pseudonym=pseudonym)


def defer_information(
    ledger: Ledger,
    actor: Actor,
    *,
    patient: Patient,
    models: Sequence[str],
    deferral: InformationDeferred,
    request: Request | None = None,
) -> Informed:
    """Record why a patient cannot be informed beforehand; the college sees it.

    Raises:
        UnknownModel: One of the models is not registered.
        NotServing, Suspended: One of them does not answer.
        IdentityMismatch: That INS is known under other traits.
    """
    for name in models:
        _leaflet_version(ledger, name)
    pseudonym = ledger.people.patient(patient)
    recorded = ledger.record(
        Draft(
            type=RecordType.INFORMATION_DEFERRED,
            actor=actor,
            outcome=Gate.DEFERRED,
            body=deferral,
            sealed_for=pseudonym,
            models=tuple(models),
        ),
        request,
    )
    return Informed(recorded=recorded, pseudonym=pseudonym)


def _deferred(ledger: Ledger, pseudonym: str, models: Sequence[str]) -> tuple[str, ...]:
    """The patient's deferred informations that being informed of these models makes good."""
    return tuple(
        recorded.id
        for recorded in ledger.of_patient(pseudonym, RecordType.INFORMATION_DEFERRED)
        if (information := ledger.get(Information, recorded.id)) is not None
        and information.step is Gate.DEFERRED
        and set(information.models) <= set(models)
    )


def object_to_use(
    ledger: Ledger,
    actor: Actor,
    *,
    information_id: str,
    objection: PatientObjected,
    request: Request | None = None,
) -> Informed:
    """Record a patient's objection: it ends every information of that patient.

    One to reuse alone ends none; it keeps all that these informations opened from training.

    Raises:
        UnknownInformation: The log holds no such information.
    """
    pseudonym = patient_of(ledger, information_id)
    while True:
        informations = tuple(recorded.id for recorded in _informations(ledger, pseudonym))

        def act(connection: Connection, _: Header, ended: tuple[str, ...] = informations) -> None:
            if informations_in(connection, pseudonym) != len(ended):
                raise InformedMeanwhile("the patient was informed anew in the meantime")

        draft = Draft(
            type=RecordType.PATIENT_OBJECTED,
            actor=actor,
            outcome=REUSE_REFUSED if objection.reuse_only else Gate.OBJECTED,
            body=objection,
            sealed_for=pseudonym,
            follows=followed_by(ledger, actor, informations),
            act=act,
        )
        try:
            recorded = ledger.record(draft, request)
        except InformedMeanwhile:
            # An objection that missed the newest information would end nothing.
            continue
        return Informed(recorded=recorded, pseudonym=pseudonym)


def _informations(ledger: Ledger, pseudonym: str) -> list[Recorded]:
    return [
        recorded
        for kind in (RecordType.PATIENT_INFORMED, RecordType.INFORMATION_DEFERRED)
        for recorded in ledger.of_patient(pseudonym, kind)
    ]


def check_informed(ledger: Ledger, information_id: str, model: str, *, at: int) -> str:
    """Check the gate before computing anything; the log checks it again when it records.

    Returns:
        The patient's pseudonym.

    Raises:
        NotInformed: The patient was not informed of this model, or not any more.
        Objected: The patient objected.
    """
    information = ledger.get(Information, information_id)
    if information is None:
        raise NotInformed("the patient has not been informed: PatientInformed is missing")
    if information.step is Gate.ERASED:
        raise Erased("the patient's records were erased")
    if information.step is Gate.OBJECTED:
        raise Objected("the patient objected to the use of this AI")
    if model not in information.models:
        raise NotInformed("the patient was not informed of this model: PatientInformed is missing")
    if information.valid_until is not None and at > information.valid_until:
        raise NotInformed("the information has expired: a new PatientInformed is missing")
    return patient_of(ledger, information_id)


def _leaflet_version(ledger: Ledger, name: str) -> RegisteredVersion:
    return standing(ledger, name).check_serving()
