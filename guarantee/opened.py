"""One dossier, opened: what was asked and answered, and all that followed."""

from dataclasses import dataclass

from guarantee.bodies import Body, InferenceMade
from guarantee.footing import check_open
from guarantee.ledger import Ledger
from guarantee.logged import BodyMissing, Recorded, UnknownRecord
from guarantee.pseudonyms import Actor, UnknownPerson
from guarantee.refusals import Erased, UnknownDossier, UnknownInformation
from guarantee.situations import Dossier, Gate, Information, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One record of a dossier with what it says; no body while an answer is withheld."""

    recorded: Recorded
    body: Body | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierView:
    """One inference and all that followed it.

    Attributes:
        step: Where the dossier stands.
        inference: What was asked and answered; none while it is withheld, or an earlier answer
            of the model on this patient is.
    """

    id: str
    step: Step
    lapsed: bool
    model: str
    model_version: str
    information: str
    inference: InferenceMade | None
    events: tuple[Event, ...]

    @property
    def withheld(self) -> bool:
        """Whether nobody may see the answer yet."""
        return self.inference is None


def check_cares(ledger: Ledger, actor: Actor, dossier: str) -> None:
    """Check that a clinician may read a dossier, and take its next step.

    They may who informed the patient of it, asked, decided, or were brought in by one of these,
    and for a day who broke the glass.

    Raises:
        UnknownDossier: No such inference.
        Erased: The patient's records were erased.
        NotCaring: They may not; the message names the ways there are.
    """
    check_open(situation_of(ledger, dossier), actor.pseudonym, at=ledger.now())


def open_dossier(ledger: Ledger, dossier: str) -> DossierView:
    """One inference and all that followed, each body checked against its header.

    While the answer is withheld, or an earlier one of the model on this patient, every body stays
    closed: a second inference would tell the first one's answer.

    Whoever lets a person read goes through `access.read_dossier`.

    Raises:
        UnknownDossier: No such inference.
        Erased: The patient's records were erased.
        VaultError: A stored body or key was altered.
    """
    situation = situation_of(ledger, dossier)
    try:
        patient = ledger.sealed_for(dossier)
        place = ledger.find(dossier).index
        withheld = patient is not None and ledger.withheld_of(patient, situation.model, up_to=place)
        events = tuple(
            Event(recorded=recorded, body=None if withheld else ledger.open_body(recorded))
            for recorded in ledger.thread(dossier)
        )
    except (BodyMissing, UnknownPerson):
        # Erased while it was read; what is missing for another reason is for the verifier.
        situation_of(ledger, dossier)
        raise
    inference = next(
        (event.body for event in events if isinstance(event.body, InferenceMade)), None
    )
    return DossierView(
        id=dossier,
        step=situation.step,
        lapsed=situation.lapsed,
        model=situation.model,
        model_version=situation.model_version,
        information=situation.information,
        inference=inference,
        events=events,
    )


def waiting(ledger: Ledger) -> list[tuple[str, Dossier]]:
    """Dossiers that wait for a clinician's read or decision, oldest first."""
    erased = {key for key, _ in ledger.situations(Information, [Gate.ERASED])}
    return [
        (key, one)
        for key, one in ledger.situations(Dossier, [Step.WITHHELD, Step.ANSWERED])
        if one.information not in erased
    ]


def situation_of(ledger: Ledger, dossier: str) -> Dossier:
    """Where a dossier stands.

    Raises:
        UnknownDossier: No such inference.
        Erased: The patient's records were erased.
    """
    situation = ledger.get(Dossier, dossier)
    if situation is None:
        raise UnknownDossier("the log holds no such inference")
    if is_erased(ledger, situation.information):
        raise Erased("the patient's records were erased")
    return situation


def is_erased(ledger: Ledger, information_id: str) -> bool:
    """Whether the patient whom that information is about was erased."""
    information = ledger.get(Information, information_id)
    return information is not None and information.step is Gate.ERASED


def patient_of(ledger: Ledger, information_id: str) -> str:
    """The pseudonym of the patient whom that information is about.

    Raises:
        UnknownInformation: The log holds no such information.
        Erased: The patient's records were erased.
    """
    if ledger.get(Information, information_id) is None:
        raise UnknownInformation("the log holds no such information of a patient")
    try:
        pseudonym = ledger.sealed_for(information_id)
    except UnknownRecord:
        if is_erased(ledger, information_id):
            raise Erased("the patient's records were erased") from None
        raise
    if pseudonym is None:
        raise UnknownInformation("that information is sealed for nobody")
    return pseudonym
