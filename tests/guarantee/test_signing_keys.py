"""A decision signed with the clinician's own key stands for one inference and one decision."""

from dataclasses import replace
from hashlib import sha256

import pytest

from guarantee import dossier
from guarantee.bodies import Decision, DecisionSigned
from guarantee.card import Mode
from guarantee.identity import Assurance
from guarantee.logged import Recorded
from guarantee.pseudonyms import KnownActor
from guarantee.records import Header
from guarantee.refusals import OwnKeyNeeded, StepMissing
from guarantee.signature import PublicKey, SignatureRefused, new_key, private_key, sign_detached
from guarantee.signed_decisions import check_decision, check_signed_decision
from tests.guarantee.clinic import CLINICIAN, ISSUER, ISSUER_KEY, Clinic, own_key

IDENTITY = KnownActor(issuer=ISSUER, subject=CLINICIAN.subject, name=None)


def public(private: str) -> PublicKey:
    return PublicKey.of(private_key(private))


def signature(
    clinic: Clinic,
    private: str,
    inference: str,
    decision: Decision = Decision.ACCEPTED,
    *,
    label: str | None = None,
    reason: str | None = None,
) -> str:
    asked = dossier.decision_to_sign(
        clinic.ledger, dossier=inference, decision=decision, label=label, reason=reason
    )
    return sign_detached(asked.payload, private)


def decide(
    clinic: Clinic,
    inference: str,
    signed: str | None,
    decision: Decision = Decision.ACCEPTED,
    *,
    label: str | None = None,
    reason: str | None = None,
) -> Recorded:
    return dossier.sign_decision(
        clinic.ledger,
        clinic.clinician,
        CLINICIAN,
        dossier=inference,
        decision=decision,
        label=label,
        reason=reason,
        signature=signed,
    )


def said(clinic: Clinic, recorded: Recorded) -> DecisionSigned:
    return clinic.ledger.open_as(recorded, DecisionSigned)


def header_of(clinic: Clinic, inference: str) -> Header:
    return clinic.ledger.find(inference).header


def test_the_record_says_at_which_level_the_decision_was_signed(clinic: Clinic) -> None:
    private = new_key()
    first, second = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    with pytest.raises(SignatureRefused, match="garant key register"):
        decide(clinic, first, signature(clinic, private, first))
    own_key(clinic.ledger, clinic.clinician, private)

    own = decide(clinic, first, signature(clinic, private, first))
    attested = decide(clinic, second, None)
    assert said(clinic, own).assurance is Assurance.OWN_KEY
    assert own.header.key == public(private).thumbprint
    assert said(clinic, attested).assurance is Assurance.ISSUER
    assert (attested.header.key, attested.header.statement) == (None, None)
    for recorded, of in ((own, first), (attested, second)):
        check_decision(
            recorded.header,
            said(clinic, recorded),
            inference=header_of(clinic, of),
            identity=IDENTITY,
        )


def test_a_wrong_signature_is_refused_and_nothing_is_recorded(clinic: Clinic) -> None:
    private = new_key()
    first, second = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    own_key(clinic.ledger, clinic.clinician, private)
    before = clinic.ledger.head()
    moved = signature(clinic, private, second)
    other = signature(clinic, new_key(), first)
    override = signature(
        clinic, private, first, Decision.OVERRIDDEN, label="LUNG", reason="TTF-1 positive."
    )
    for refused in (moved, other, override, "", "a..b"):
        with pytest.raises(SignatureRefused):
            decide(clinic, first, refused)
    with pytest.raises(SignatureRefused):
        decide(clinic, first, override, Decision.OVERRIDDEN, label="LUNG", reason="Another reason.")
    assert clinic.ledger.head() == before
    decide(clinic, first, override, Decision.OVERRIDDEN, label="LUNG", reason="TTF-1 positive.")


def test_a_recorded_signature_holds_for_its_own_dossier_words_and_key_alone(
    clinic: Clinic,
) -> None:
    private, later = new_key(), new_key()
    first, second = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    own_key(clinic.ledger, clinic.clinician, private)
    own = decide(clinic, first, signature(clinic, private, first))
    own_key(clinic.ledger, clinic.clinician, later, standing=private)
    header, body, inference = own.header, said(clinic, own), header_of(clinic, first)
    elsewhere = header_of(clinic, second)

    def signed_for(one: Header) -> str:
        return sha256(one.encode()).hexdigest()

    check_signed_decision(header, header_sha256=signed_for(inference), key=public(private))
    for changed, of, key in (
        (header, inference, public(later)),
        (header, inference, None),
        (header, elsewhere, public(private)),
        (replace(header, dossier=second), elsewhere, public(private)),
        (replace(header, outcome="overridden"), inference, public(private)),
        (replace(header, statement="0" * 64), inference, public(private)),
        (replace(header, signature="a..b"), inference, public(private)),
        (replace(header, key=public(later).thumbprint), inference, public(private)),
    ):
        with pytest.raises(SignatureRefused):
            check_signed_decision(changed, header_sha256=signed_for(of), key=key)

    check_decision(header, body, inference=inference, identity=IDENTITY)
    stranger = IDENTITY.model_copy(update={"subject": "10000000002"})
    for changed, update, of, identity in (
        (replace(header, outcome="overridden"), {}, inference, IDENTITY),
        (header, {}, elsewhere, IDENTITY),
        (header, {"reason": "Later."}, inference, IDENTITY),
        (header, {"label": "LUNG"}, inference, IDENTITY),
        (header, {"salt": "0" * 64}, inference, IDENTITY),
        (header, {"salt": None}, inference, IDENTITY),
        (header, {"assurance": Assurance.ISSUER}, inference, IDENTITY),
        (replace(header, key=None, signature=None, statement=None), {}, inference, IDENTITY),
        (header, {}, inference, stranger),
        (replace(header, time=header.time + 10**9), {}, inference, IDENTITY),
    ):
        with pytest.raises(SignatureRefused):
            check_decision(changed, body.model_copy(update=update), inference=of, identity=identity)

    # A decision that names the key that was replaced is refused by the protocol.
    draft = dossier._following(
        clinic.ledger,
        clinic.clinician,
        kind=header.type,
        outcome=header.outcome,
        dossier=second,
        body=body,
    )
    with pytest.raises(OwnKeyNeeded):
        clinic.ledger.record(
            replace(draft, key=header.key, statement=header.statement, signature=header.signature)
        )


def test_an_embedded_issuers_name_binds_its_key(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform()).id
    recorded = decide(clinic, inference, None)
    embedded = IDENTITY.model_copy(update={"issuer": "urn:garant:issuer:another-key"})
    assert PublicKey.of(ISSUER_KEY).thumbprint not in embedded.issuer
    with pytest.raises(SignatureRefused, match="not that of its issuer"):
        check_decision(
            recorded.header,
            said(clinic, recorded),
            inference=header_of(clinic, inference),
            identity=embedded,
        )


def test_what_to_sign_shows_no_withheld_answer(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform(), mode=Mode.WITHHELD).id
    with pytest.raises(StepMissing, match="FirstRead"):
        signature(clinic, new_key(), inference)
