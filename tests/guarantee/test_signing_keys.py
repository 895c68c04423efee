"""A decision signed with the clinician's own key stands for one inference and one decision."""

from dataclasses import replace

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
from guarantee.signing_keys import check_decision, register_key
from tests.guarantee.clinic import CLINICIAN, ISSUER, ISSUER_KEY, Clinic

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
    payload = dossier.decision_to_sign(
        clinic.ledger, dossier=inference, decision=decision, label=label, reason=reason
    )
    return sign_detached(payload, private)


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
    key = register_key(clinic.ledger, clinic.clinician, key=public(private))

    own = decide(clinic, first, signature(clinic, private, first))
    attested = decide(clinic, second, None)
    assert said(clinic, own).assurance is Assurance.OWN_KEY
    assert own.header.follows == (first, key.id)
    assert said(clinic, attested).assurance is Assurance.ISSUER
    assert attested.header.follows == (second,)
    for recorded, of in ((own, first), (attested, second)):
        check_decision(
            recorded.header,
            said(clinic, recorded),
            inference=header_of(clinic, of),
            key=public(private) if recorded is own else None,
            identity=IDENTITY,
        )


def test_a_wrong_signature_is_refused_and_nothing_is_recorded(clinic: Clinic) -> None:
    private = new_key()
    first, second = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    register_key(clinic.ledger, clinic.clinician, key=public(private))
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
    old = register_key(clinic.ledger, clinic.clinician, key=public(private))
    own = decide(clinic, first, signature(clinic, private, first))
    register_key(clinic.ledger, clinic.clinician, key=public(later))
    header, body, inference = own.header, said(clinic, own), header_of(clinic, first)
    check_decision(header, body, inference=inference, key=public(private), identity=IDENTITY)
    elsewhere = header_of(clinic, second)
    stranger = IDENTITY.model_copy(update={"subject": "10000000002"})
    lowered = body.model_copy(update={"assurance": Assurance.ISSUER})
    for changed, words, of, key, identity in (
        (header, body, inference, public(later), IDENTITY),
        (header, body, inference, None, IDENTITY),
        (header, body, elsewhere, public(private), IDENTITY),
        (replace(header, dossier=second), body, elsewhere, public(private), IDENTITY),
        (replace(header, outcome="overridden"), body, inference, public(private), IDENTITY),
        (
            header,
            body.model_copy(update={"reason": "Later."}),
            inference,
            public(private),
            IDENTITY,
        ),
        (header, lowered, inference, public(private), IDENTITY),
        (replace(header, follows=(first,)), body, inference, None, IDENTITY),
        (header, body, inference, public(private), stranger),
        (replace(header, time=header.time + 10**9), body, inference, public(private), IDENTITY),
    ):
        with pytest.raises(SignatureRefused):
            check_decision(changed, words, inference=of, key=key, identity=identity)

    # A decision that names the key that was replaced is refused by the protocol.
    with pytest.raises(OwnKeyNeeded):
        dossier._follow(
            clinic.ledger,
            clinic.clinician,
            kind=header.type,
            outcome=header.outcome,
            dossier=second,
            body=body,
            request=None,
            follows=(old.id,),
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
            key=None,
            identity=embedded,
        )


def test_what_to_sign_shows_no_withheld_answer(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform(), mode=Mode.WITHHELD).id
    with pytest.raises(StepMissing, match="FirstRead"):
        signature(clinic, new_key(), inference)
