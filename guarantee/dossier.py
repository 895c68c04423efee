"""A dossier's steps: an answer recorded, read first, decided on, told, confirmed, corrected."""

from dataclasses import dataclass, replace
from hashlib import sha256

from sqlalchemy import Connection

from guarantee.abstention import ABSTAINED
from guarantee.appending import Act, Draft, Request
from guarantee.bodies import (
    Answer,
    Body,
    Corrected,
    Decision,
    DecisionSigned,
    FirstRead,
    InferenceMade,
    OutcomeConfirmed,
    PatientTold,
)
from guarantee.card import Mode
from guarantee.errors import GuaranteeError
from guarantee.identity import Assurance, Caller
from guarantee.ledger import Ledger
from guarantee.logged import Recorded, withheld_of
from guarantee.opened import DossierView, check_cares, open_dossier, patient_of, situation_of
from guarantee.pseudonyms import Actor
from guarantee.records import Header, RecordType
from guarantee.refusals import (
    AnswerWithheld,
    StepMissing,
    UnknownDossier,
)
from guarantee.signature import PublicKey, SignatureRefused, verify_attestation
from guarantee.signed_decisions import decision_payload, salt_of, statement_of
from guarantee.signing_keys import signed
from guarantee.situations import Step
from guarantee.versions import RegisteredVersion, registered_version


class InvalidDecision(GuaranteeError):
    """A decision, read or outcome that contradicts itself or the model's card."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


def mode_for(ledger: Ledger, pseudonym: str, model: str, mode: Mode) -> Mode:
    """The mode, tightened while another answer of this model on this patient is withheld."""
    return Mode.WITHHELD if ledger.withheld_of(pseudonym, model) else mode


def check_none_withheld(connection: Connection, pseudonym: str, model: str) -> None:
    """Check that no answer of that model on that patient is withheld: another could tell it.

    Raises:
        AnswerWithheld: One is.
    """
    if withheld_of(connection, pseudonym, model):
        raise AnswerWithheld("another answer on this patient is withheld: its FirstRead is missing")


def record_inference(
    ledger: Ledger,
    actor: Actor,
    *,
    pseudonym: str,
    inference: InferenceMade,
    version: RegisteredVersion,
    request: Request | None = None,
) -> Recorded:
    """Record an answer before it leaves; it opens its dossier.

    Raises:
        NotInformed: The gate closed in the meantime.
        Objected: The patient objected in the meantime.
        Suspended: The model was stopped in the meantime.
        NotServing: Another version was promoted in the meantime.
        AnswerWithheld: Another answer was withheld in the meantime: withhold this one.
    """
    act: Act | None = None
    if inference.mode is Mode.WITHHELD:
        outcome: str = Step.WITHHELD
    else:
        outcome = Step.ANSWERED if inference.answer.abstention is None else ABSTAINED

        def act(connection: Connection, _: Header) -> None:
            check_none_withheld(connection, pseudonym, version.name)

    return ledger.record(
        Draft(
            type=RecordType.INFERENCE_MADE,
            actor=actor,
            outcome=outcome,
            body=inference,
            sealed_for=pseudonym,
            opens_dossier=True,
            follows=(inference.information_id,),
            model=version.name,
            model_version=version.version,
            act=act,
        ),
        request,
    )


def read_first(
    ledger: Ledger, actor: Actor, *, dossier: str, read: FirstRead, request: Request | None = None
) -> Recorded:
    """Record what the clinician thinks before the answer is shown.

    Raises:
        UnknownDossier: No such inference.
        NotCaring: The dossier is not open to the actor.
        AlreadyDone: The answer is not withheld, or no longer.
        InvalidDecision: The label is none of the card's.
    """
    _check_label(ledger, dossier, read.label)
    return _follow(
        ledger,
        actor,
        kind=RecordType.FIRST_READ,
        outcome="read",
        dossier=dossier,
        body=read,
        request=request,
    )


def sign_decision(
    ledger: Ledger,
    actor: Actor,
    caller: Caller,
    *,
    dossier: str,
    decision: Decision,
    label: str | None,
    reason: str | None,
    signature: str | None = None,
    request: Request | None = None,
) -> Recorded:
    """Record the clinician's decision, attested by whoever issued their token.

    Accepting takes the answer's label; overriding names another and says why; disregarding
    names none.

    Args:
        signature: A detached JWS over `decision_to_sign` by the clinician's registered key.

    Raises:
        SignatureRefused: No key is registered, or it did not sign this decision.
        UnknownDossier: No such inference.
        NotCaring: The dossier is not open to the actor.
        StepMissing: The answer is withheld: a first read is missing.
        AnswerWithheld: Another answer on this patient is: its first read is missing.
        AlreadyDone: A decision stands.
        InvalidDecision: Label and decision contradict each other.
    """
    if request is not None and (repeat := ledger.repeated(request)) is not None:
        return repeat
    # Before the words are looked at: what is wrong with them would tell the answer.
    check_cares(ledger, actor, dossier)
    view = open_dossier(ledger, dossier)
    label = _decided_label(ledger, view, decision, label, reason)
    if caller.attestation is None or caller.issuer_key is None:
        raise SignatureRefused("nothing attests who decides: act with a token")
    # As the verifier will: a clock that stands apart from the issuer's is refused, not recorded.
    verify_attestation(
        caller.attestation,
        PublicKey.parse(caller.issuer_key),
        issuer=caller.issuer,
        subject=caller.subject,
        at=ledger.now(),
    )
    body = DecisionSigned(
        decision=decision,
        label=label,
        reason=reason,
        assurance=Assurance.ISSUER if signature is None else Assurance.OWN_KEY,
        attestation=caller.attestation,
        issuer_key=caller.issuer_key,
    )
    draft = _following(
        ledger,
        actor,
        kind=RecordType.DECISION_SIGNED,
        outcome=decision,
        dossier=dossier,
        body=body,
    )
    if signature is not None:
        asked = _decision_to_sign(
            ledger, dossier=dossier, decision=decision, label=body.label, reason=body.reason
        )
        draft = replace(
            signed(ledger, draft, signature, payload=asked.payload),
            body=body.model_copy(update={"salt": asked.salt.hex()}),
            statement=asked.statement,
        )
    return ledger.record(draft, request)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionToSign:
    """What a clinician's own key signs, and how to see that it is what they decide.

    Attributes:
        payload: The bytes to sign: see `signed_decisions.decision_payload`.
        salt: With it and the words, `signed_decisions.statement_of` makes what it holds.
        label: What is decided: of an acceptance, the answer's label.
    """

    payload: bytes
    salt: bytes
    statement: str
    label: str | None


def decision_to_sign(
    ledger: Ledger,
    *,
    dossier: str,
    decision: Decision,
    label: str | None,
    reason: str | None,
) -> DecisionToSign:
    """What a clinician's own key signs for a decision; nothing is recorded.

    Raises:
        UnknownDossier: No such inference.
        StepMissing: The answer is withheld: a first read is missing.
        InvalidDecision: Label and decision contradict each other.
    """
    view = open_dossier(ledger, dossier)
    if view.inference is None:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    label = _decided_label(ledger, view, decision, label, reason)
    return _decision_to_sign(ledger, dossier=dossier, decision=decision, label=label, reason=reason)


def _decision_to_sign(
    ledger: Ledger, *, dossier: str, decision: Decision, label: str | None, reason: str | None
) -> DecisionToSign:
    salt = salt_of(ledger.people.key(ledger.sealed_for(dossier) or ""), dossier)
    statement = statement_of(salt, label=label, reason=reason)
    payload = decision_payload(
        dossier,
        header_sha256=sha256(ledger.find(dossier).header.encode()).hexdigest(),
        decision=decision,
        statement=statement,
    )
    return DecisionToSign(payload=payload, salt=salt, statement=statement, label=label)


def _decided_label(
    ledger: Ledger, view: DossierView, decision: Decision, label: str | None, reason: str | None
) -> str | None:
    if view.inference is None:
        if view.step is Step.ANSWERED:
            raise AnswerWithheld(
                "an earlier answer on this patient is withheld: its FirstRead is missing"
            )
        return label
    label = _label_of(view.inference.answer, decision, label, reason)
    if label is not None:
        _check_label(ledger, view.id, label)
    return label


def _label_of(
    answer: Answer, decision: Decision, label: str | None, reason: str | None
) -> str | None:
    answered, abstained = answer.label, answer.abstention is not None
    if decision is Decision.ACCEPTED:
        if abstained:
            raise InvalidDecision("decision", "the model abstained: there is nothing to accept")
        if label not in (None, answered):
            raise InvalidDecision("label", "accepting takes the answer's label; override instead")
        return answered
    if decision is Decision.DISREGARDED:
        if label is not None:
            raise InvalidDecision("label", "disregarding an answer names no label")
        return None
    if label is None:
        raise InvalidDecision("label", "overriding names the label that you decide")
    if label == answered and not abstained:
        raise InvalidDecision("label", "this is the answer's label: accept it instead")
    if reason is None:
        raise InvalidDecision("reason", "overriding says why")
    return label


def tell_patient(
    ledger: Ledger, actor: Actor, *, dossier: str, told: PatientTold, request: Request | None = None
) -> Recorded:
    """Record the interpretation that the patient was told.

    Raises:
        UnknownDossier: No such inference.
        NotCaring: The dossier is not open to the actor.
        StepMissing: Nothing is decided yet.
        AlreadyDone: The patient was told.
    """
    return _follow(
        ledger,
        actor,
        kind=RecordType.PATIENT_TOLD,
        outcome="told",
        dossier=dossier,
        body=told,
        request=request,
    )


def confirm_outcome(
    ledger: Ledger,
    actor: Actor,
    *,
    dossier: str,
    outcome: OutcomeConfirmed,
    request: Request | None = None,
) -> Recorded:
    """Record what the truth turned out to be.

    Raises:
        UnknownDossier: No such inference.
        NotCaring: The dossier is not open to the actor.
        StepMissing: The patient was not told yet.
        AlreadyDone: The outcome was confirmed.
    """
    return _follow(
        ledger,
        actor,
        kind=RecordType.OUTCOME_CONFIRMED,
        outcome="confirmed",
        dossier=dossier,
        body=outcome,
        request=request,
    )


def correct(
    ledger: Ledger,
    actor: Actor,
    *,
    dossier: str,
    correction: Corrected,
    request: Request | None = None,
) -> Recorded:
    """Record a later word on one of the dossier's records; that record stays as it is.

    Raises:
        UnknownDossier: No such inference, or the record is not one of its dossier.
        NotCaring: The dossier is not open to the actor.
    """
    if correction.corrects not in (recorded.id for recorded in ledger.thread(dossier)):
        raise UnknownDossier("the corrected record is not of this dossier")
    return _follow(
        ledger,
        actor,
        kind=RecordType.CORRECTED,
        outcome="corrected",
        dossier=dossier,
        body=correction,
        request=request,
    )


def _follow(
    ledger: Ledger,
    actor: Actor,
    *,
    kind: RecordType,
    outcome: str,
    dossier: str,
    body: Body,
    request: Request | None,
) -> Recorded:
    draft = _following(ledger, actor, kind=kind, outcome=outcome, dossier=dossier, body=body)
    return ledger.record(draft, request)


def _following(
    ledger: Ledger, actor: Actor, *, kind: RecordType, outcome: str, dossier: str, body: Body
) -> Draft:
    situation = situation_of(ledger, dossier)
    return Draft(
        type=kind,
        actor=actor,
        outcome=outcome,
        body=body,
        sealed_for=patient_of(ledger, situation.information),
        dossier=dossier,
        follows=(dossier,),
        model=situation.model,
        model_version=situation.model_version,
    )


def _check_label(ledger: Ledger, dossier: str, label: str) -> None:
    situation = situation_of(ledger, dossier)
    card = registered_version(ledger, situation.model, situation.model_version).card
    if label not in (known.id for known in card.labels):
        raise InvalidDecision("label", f"not a label of {card.name}: see the card")
