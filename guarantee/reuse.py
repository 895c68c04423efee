"""What a learning model may learn from: confirmed outcomes of patients who did not refuse it.

Training is another purpose than care (GDPR, articles 5, 1, b; 13, 3; 21). An outcome counts where
the information that opened its dossier told of the reuse, the patient refused neither that nor the
AI since, and was not erased.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from guarantee import seen
from guarantee.bodies import Context, PatientInformed
from guarantee.ledger import Ledger
from guarantee.opened import patient_of
from guarantee.records import RecordType
from guarantee.situations import Dossier, Gate, Information


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A confirmed outcome that may be learned from.

    Attributes:
        dossier: Its inference's id.
        patient: Pseudonym; it stays in the house.
        profile: Base64 float32, (n_features,); NaN where missing.
        label: The confirmed one, whether or not a card has it.
        confirmed: Place in the log of the confirmation.
    """

    dossier: str
    patient: str
    profile: str
    label: str
    context: Context
    confirmed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reusable:
    """What may be learned from, in the order of the confirmations, one a patient: their last.

    Attributes:
        kept_out: How many confirmed outcomes may not be learned from, because nobody told of the
            reuse or the patient refused it.
    """

    outcomes: tuple[Outcome, ...]
    kept_out: int


def reusable(ledger: Ledger, name: str, versions: Collection[str]) -> Reusable:
    """The outcomes of answers by these versions of a model that may be learned from.

    An outcome on which a later word stands beside the confirmation is passed over.

    Raises:
        VaultError: A stored body or key was altered.
    """
    of_patient: dict[str, Outcome] = {}
    kept_out = 0
    for outcome, information in _confirmed(ledger, name, versions):
        if not _may_be_reused(ledger, information, outcome.patient):
            kept_out += 1
            continue
        known = of_patient.get(outcome.patient)
        if known is None or known.confirmed < outcome.confirmed:
            of_patient[outcome.patient] = outcome
    outcomes = sorted(of_patient.values(), key=lambda outcome: outcome.confirmed)
    return Reusable(outcomes=tuple(outcomes), kept_out=kept_out)


def _confirmed(
    ledger: Ledger, name: str, versions: Collection[str]
) -> Iterator[tuple[Outcome, str]]:
    """Every confirmed outcome, and the information that opened its dossier; none of the erased."""
    for version in versions:
        # The answers, which are most of it, are let go of at once.
        cases = [
            (case.id, case.profile, case.context)
            for case in seen.inferences(
                ledger,
                model=name,
                version=version,
                followed_by=RecordType.OUTCOME_CONFIRMED,
            )
        ]
        followed = seen.followed(ledger, [dossier for dossier, _, _ in cases])
        for dossier, profile, context in cases:
            truth = followed.get(dossier)
            if truth is None or truth.truth is None or truth.truth_corrected:
                continue
            situation = ledger.get(Dossier, dossier)
            if situation is None or _is_erased(ledger, situation.information):
                continue
            outcome = Outcome(
                dossier=dossier,
                patient=patient_of(ledger, situation.information),
                profile=profile,
                label=truth.truth,
                context=context,
                confirmed=next(
                    recorded.index
                    for recorded in ledger.thread(dossier)
                    if recorded.header.type is RecordType.OUTCOME_CONFIRMED
                ),
            )
            yield outcome, situation.information


def _is_erased(ledger: Ledger, information: str) -> bool:
    situation = ledger.get(Information, information)
    return situation is None or situation.step is Gate.ERASED


def _may_be_reused(ledger: Ledger, information: str, patient: str) -> bool:
    recorded = ledger.find(information)
    if recorded.header.type is not RecordType.PATIENT_INFORMED:
        return False  # A deferred one told nobody of it.
    if not ledger.open_as(recorded, PatientInformed).reuse:
        return False
    # An objection is to all that the patient was informed of so far.
    objections = ledger.of_patient(patient, RecordType.PATIENT_OBJECTED)
    return all(objection.index < recorded.index for objection in objections)
