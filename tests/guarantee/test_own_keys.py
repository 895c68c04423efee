"""Whoever can mint tokens for a person, and may be the house itself, does not sign for them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest

from guarantee import college, dossier, review, versions
from guarantee.appending import Draft
from guarantee.bodies import (
    Decision,
    DecisionSigned,
    KeyGround,
    KeyRegistered,
    KeyWithdrawn,
    MemberAppointed,
    Opinion,
    Purpose,
)
from guarantee.checkpoint import Signer
from guarantee.disclosure import disclose, open_disclosed
from guarantee.export import ExportedLog, write_export
from guarantee.home import Home
from guarantee.identity import Profession, Role
from guarantee.ledger import Ledger, origin_of
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import AlreadyDone, NotAMember, OwnKeyNeeded, StepMissing
from guarantee.signature import PublicKey, SignatureRefused, new_key, private_key, sign_detached
from guarantee.signed_decisions import statement_of
from guarantee.signing_keys import (
    SignatureNeeded,
    key_payload,
    register_key,
    signed,
    withdraw_key,
)
from guarantee.situations import KeyHolder
from guarantee.verify import Anchors, Report, reading, verify_export, verify_home
from tests.guarantee.attacker import Row, log_key, rewrite
from tests.guarantee.clinic import CARD, CLINICIAN, Clinic, own_key, with_key


def public(private: str) -> PublicKey:
    return PublicKey.of(private_key(private))


def member(clinic: Clinic, seat: str = "physician") -> Actor:
    return clinic.actor(f"member-{seat}", Role.COLLEGE)


def exported(home: Home, file: Path) -> Report:
    """What a member of the college finds, with an export and the log's key alone."""
    private = log_key(home)
    with reading(home) as log:
        write_export(log, file)
    key = Signer(name=origin_of(private), private=private).verifier_key
    return verify_export(file, anchors=Anchors(keys=(key,)))


def said(report: Report) -> str:
    return "\n".join(str(finding) for finding in report.findings)


# Registering


def test_a_token_alone_replaces_nobodys_key(clinic: Clinic) -> None:
    actor, private, minted = clinic.clinician, new_key(), new_key()
    with pytest.raises(SignatureNeeded) as needed:
        register_key(clinic.ledger, actor, key=public(minted))
    own_key(clinic.ledger, actor, private)
    # Proved for an empty place, and for a key that stands by now.
    with pytest.raises(SignatureRefused, match="did not sign"):
        register_key(
            clinic.ledger,
            actor,
            key=public(minted),
            proof=sign_detached(needed.value.payload.encode(), minted),
        )
    with pytest.raises(SignatureNeeded, match="a key of yours stands"):
        own_key(clinic.ledger, actor, minted)
    with pytest.raises(SignatureRefused, match="another key"):
        own_key(clinic.ledger, actor, minted, standing=new_key())
    later = new_key()
    own_key(clinic.ledger, actor, later, standing=private)
    with pytest.raises(SignatureRefused, match="another key"):
        own_key(clinic.ledger, actor, minted, standing=private)


def test_a_key_is_registered_by_who_holds_it_and_once_ever(clinic: Clinic) -> None:
    private, second = new_key(), new_key()
    with pytest.raises(SignatureNeeded) as needed:
        register_key(clinic.ledger, member(clinic), key=public(private))
    payload = needed.value.payload.encode()
    for proof in (sign_detached(payload, second), sign_detached(b"{}", private), "a..b"):
        with pytest.raises(SignatureRefused):
            register_key(clinic.ledger, member(clinic), key=public(private), proof=proof)
    with pytest.raises(SignatureRefused):
        register_key(
            clinic.ledger,
            clinic.clinician,
            key=public(private),
            proof=sign_detached(payload, private),
        )
    own_key(clinic.ledger, member(clinic), private)
    with pytest.raises(AlreadyDone, match="registered before"):
        own_key(clinic.ledger, clinic.clinician, private)
    own_key(clinic.ledger, member(clinic), second, standing=private)
    with pytest.raises(AlreadyDone, match="registered before"):
        own_key(clinic.ledger, member(clinic), private, standing=second)


def withdrawn(clinic: Clinic, by: Actor, private: str, lost: str) -> Recorded:
    return with_key(
        private,
        lambda signature: withdraw_key(
            clinic.ledger,
            by,
            thumbprint=public(lost).thumbprint,
            ground=KeyGround.LOST,
            signature=signature,
        ),
    )


def test_a_lost_key_is_withdrawn_by_two_members_who_sign_with_theirs(clinic: Clinic) -> None:
    lost, found = new_key(), new_key()
    own_key(clinic.ledger, clinic.clinician, lost)
    first, second = member(clinic), member(clinic, "paramedic")
    with pytest.raises(OwnKeyNeeded, match="register a key of your own"):
        withdraw_key(
            clinic.ledger, first, thumbprint=public(lost).thumbprint, ground=KeyGround.LOST
        )
    keys = {one.pseudonym: new_key() for one in (first, second)}
    for one in (first, second):
        own_key(clinic.ledger, one, keys[one.pseudonym])
    with pytest.raises(NotAMember, match="others say"):
        withdrawn(clinic, first, keys[first.pseudonym], keys[first.pseudonym])
    with pytest.raises(StepMissing):
        withdrawn(clinic, first, keys[first.pseudonym], found)

    said_first = withdrawn(clinic, first, keys[first.pseudonym], lost)
    with pytest.raises(AlreadyDone):
        withdrawn(clinic, first, keys[first.pseudonym], lost)
    with pytest.raises(SignatureNeeded, match="stands"):
        own_key(clinic.ledger, clinic.clinician, found)
    said_second = withdrawn(clinic, second, keys[second.pseudonym], lost)

    # Until another is registered, nothing is signed: not with the lost one either.
    case = clinic.infer(clinic.inform()).id
    asked = dossier.decision_to_sign(
        clinic.ledger, dossier=case, decision=Decision.ACCEPTED, label=None, reason=None
    )
    with pytest.raises(SignatureRefused, match="no key of yours"):
        decide(clinic, case, sign_detached(asked.payload, lost))
    again = own_key(clinic.ledger, clinic.clinician, found)
    assert again.header.follows[1:] == (said_first.id, said_second.id)
    decide(clinic, case, sign_detached(asked.payload, found))
    remarks = [one for one in verify_home(clinic.home).remarks if again.id in one]
    assert len(remarks) == 1
    assert said_first.id in remarks[0]
    assert said_second.id in remarks[0]


def decide(clinic: Clinic, case: str, signature: str | None) -> Recorded:
    return dossier.sign_decision(
        clinic.ledger,
        clinic.clinician,
        CLINICIAN,
        dossier=case,
        decision=Decision.ACCEPTED,
        label=None,
        reason=None,
        signature=signature,
    )


def test_a_replacement_is_remarked(clinic: Clinic) -> None:
    first, second = new_key(), new_key()
    own_key(clinic.ledger, clinic.clinician, first)
    replaced = own_key(clinic.ledger, clinic.clinician, second, standing=first)
    report = verify_home(clinic.home)
    assert [one for one in report.remarks if replaced.id in one and "replaced their key" in one]


# Acts of the college


def test_a_token_for_a_member_who_has_a_key_acts_for_the_college_in_nothing(
    clinic: Clinic,
) -> None:
    ledger, private = clinic.ledger, new_key()
    own_key(ledger, member(clinic), private)
    clinic.infer(clinic.inform())
    secret = b"s" * 32

    def announce(signature: str | None) -> Recorded:
        return review.announce(
            ledger,
            member(clinic),
            rate="1/1",
            secret_sha256=public_digest(secret),
            signature=signature,
        )

    def appoint(signature: str | None) -> Recorded:
        return college.appoint(
            ledger,
            member(clinic),
            member=clinic.actor("puppet", Role.COLLEGE),
            profession=Profession.PHYSICIAN,
            signature=signature,
        )

    def resume(signature: str | None) -> Recorded:
        return versions.resume(
            ledger, member(clinic), name=CARD.name, reason="checked", signature=signature
        )

    versions.suspend(ledger, member(clinic), name=CARD.name, reason="anyone may stop it")
    for act in (announce, appoint, resume):
        with pytest.raises(SignatureRefused):
            act(sign_detached(b"{}", private))
        with_key(private, act)
    # Signed for the suspension that is over, it does not lift the next one.
    with pytest.raises(SignatureNeeded) as needed:
        resume(None)
    versions.suspend(ledger, member(clinic), name=CARD.name, reason="again")
    with pytest.raises(SignatureRefused):
        resume(sign_detached(needed.value.payload.encode(), private))

    (announced,) = ledger.latest(RecordType.DRAW_ANNOUNCED)
    (case,) = review.draw(ledger, member(clinic), announcement=announced.id, secret=secret).dossiers

    def judge(signature: str | None) -> Recorded:
        return review.review(
            ledger,
            member(clinic),
            announcement=announced.id,
            dossier=case,
            opinion=Opinion.AGREED,
            signature=signature,
        )

    with_key(private, judge)
    # Past the functions, the protocol refuses it, too.
    with pytest.raises(OwnKeyNeeded, match="sign with it"):
        ledger.record(
            Draft(
                type=RecordType.MEMBER_APPOINTED,
                actor=member(clinic),
                outcome=Profession.PHYSICIAN,
                body=MemberAppointed(profession=Profession.PHYSICIAN),
                subject=clinic.actor("another-puppet", Role.COLLEGE).pseudonym,
            )
        )


def public_digest(secret: bytes) -> str:
    return sha256(secret).hexdigest()


def test_a_college_founded_without_keys_is_remarked_and_shown(tmp_path: Path) -> None:
    founded = Clinic.founded(tmp_path / "home")
    status = college.status(founded.ledger)
    assert status.founded is not None
    assert "3 had no key of their own" in status.founded
    founded.ledger.close()
    report = verify_home(founded.home)
    assert status.founded in report.remarks
    assert [one for one in report.remarks if "approved with 3 votes that rest on a token" in one]


def test_a_college_whose_founders_had_keys_is_not_remarked(empty_home: Home) -> None:
    clinic = Clinic.opened(empty_home)
    for seat in list(Profession)[:3]:
        private = new_key()
        own_key(clinic.ledger, member(clinic, seat), private)

        def appoint(signature: str | None, seat: Profession = seat) -> Recorded:
            who = member(clinic, seat)
            return college.appoint(
                clinic.ledger, who, member=who, profession=seat, signature=signature
            )

        with_key(private, appoint)
    assert college.status(clinic.ledger).founded is None
    clinic.ledger.close()
    report = verify_home(clinic.home)
    assert report.verified
    assert not any("founded" in one for one in report.remarks)


# What a house that holds the log's key and every patient's, but nobody's own, cannot forge


@dataclass
class Forged:
    """A log with a decision that its clinician signed, and who may rewrite it."""

    clinic: Clinic
    private: str
    decided: Recorded
    disclosure: str
    file: Path

    def record(self, draft: Draft) -> Recorded:
        """Past the functions that check signatures."""
        recorded = self.clinic.ledger.record(draft)
        self.clinic.ledger.close()
        return recorded

    def rewritten(self, change: Callable[[Row], Row]) -> str:
        """What an export of the altered log says, without any key but the log's."""
        self.clinic.ledger.close()

        def edit(rows: list[Row]) -> list[Row]:
            return [change(row) if row.header.id == self.decided.id else row for row in rows]

        rewrite(self.clinic.home, edit, signer=log_key(self.clinic.home))
        return said(exported(self.clinic.home, self.file))


@pytest.fixture
def forged(tmp_path: Path) -> Forged:
    clinic = Clinic.founded(tmp_path / "home")
    private = new_key()
    own_key(clinic.ledger, clinic.clinician, private)
    case = clinic.infer(clinic.inform()).id
    asked = dossier.decision_to_sign(
        clinic.ledger, dossier=case, decision=Decision.ACCEPTED, label=None, reason=None
    )
    decided = decide(clinic, case, sign_detached(asked.payload, private))
    officer = clinic.actor("officer", Role.DPO)
    shown = disclose(clinic.ledger, officer, dossier=case, purpose=Purpose.AUDIT)
    return Forged(clinic, private, decided, shown, tmp_path / "log.garant")


def test_an_export_alone_shows_whose_key_signed_a_decision(forged: Forged) -> None:
    forged.clinic.ledger.close()
    assert exported(forged.clinic.home, forged.file).verified
    header = forged.decided.header
    assert header.key == public(forged.private).thumbprint
    with ExportedLog(forged.file) as log:
        bodies = {one.header.id: one.body for one in open_disclosed(log, forged.disclosure)}
    body = bodies[header.id]
    assert isinstance(body, DecisionSigned)
    assert body.salt is not None
    words = statement_of(bytes.fromhex(body.salt), label=body.label, reason=body.reason)
    assert header.statement == words
    # Nothing of the words: without the salt, every label there is gives another digest.
    for label in ("BREAST", "LUNG", None):
        assert statement_of(b"", label=label, reason=None) != header.statement


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"outcome": "disregarded"}, "the signature: the key did not sign this"),
        ({"statement": "0" * 64}, "the signature: the key did not sign this"),
        ({"signature": "a..b"}, "the signature: "),
        ({"key": "A" * 43}, "another key than its actor's present one"),
        ({"statement": None}, "have a statement"),
        ({"key": None}, "a signature and its key, or neither"),
    ],
)
def test_a_signed_decision_altered_by_its_house_is_found_in_an_export(
    forged: Forged, change: dict[str, str | None], finding: str
) -> None:
    def alter(row: Row) -> Row:
        return replace(row, header=replace(row.header, **change))  # type: ignore[arg-type]

    assert finding in forged.rewritten(alter)


def test_a_signature_that_was_taken_away_lowers_the_level_and_is_remarked(forged: Forged) -> None:
    def lower(row: Row) -> Row:
        return replace(row, header=replace(row.header, key=None, signature=None, statement=None))

    assert forged.rewritten(lower) == ""
    report = exported(forged.clinic.home, forged.file.with_suffix(".again"))
    assert [one for one in report.remarks if forged.decided.id in one and "alone" in one]
    # Opened, it claims another level than it has.
    assert "claims another level" in said(verify_home(forged.clinic.home))


def test_a_decision_signed_by_nobody_in_the_clinicians_name(forged: Forged) -> None:
    """As the house would make it: with a token for the clinician, and a key of its own."""
    ledger, other = forged.clinic.ledger, new_key()
    case = forged.clinic.infer(forged.clinic.inform(2)).id
    draft = dossier._following(
        ledger,
        forged.clinic.clinician,
        kind=RecordType.DECISION_SIGNED,
        outcome="accepted",
        dossier=case,
        body=ledger.open_as(forged.decided, DecisionSigned),
    )
    asked = dossier.decision_to_sign(
        ledger, dossier=case, decision=Decision.ACCEPTED, label=None, reason=None
    )
    signature = sign_detached(asked.payload, other)
    with pytest.raises(OwnKeyNeeded):
        ledger.record(
            replace(
                draft,
                key=public(other).thumbprint,
                statement=asked.statement,
                signature=signature,
            )
        )
    recorded = forged.record(
        replace(
            draft,
            key=public(forged.private).thumbprint,
            statement=asked.statement,
            signature=signature,
        )
    )
    found = said(exported(forged.clinic.home, forged.file))
    assert recorded.id in found
    assert "the signature: " in found


@pytest.mark.parametrize("endorsed", [False, True])
def test_a_key_that_its_house_replaced_is_found_in_an_export(
    forged: Forged, endorsed: bool
) -> None:
    ledger, actor, minted = forged.clinic.ledger, forged.clinic.clinician, new_key()
    holder = ledger.get(KeyHolder, actor.pseudonym)
    assert holder is not None
    recorded = forged.record(
        _registration(ledger, actor, minted, (holder.registration,), endorsed=endorsed)
    )
    found = said(exported(forged.clinic.home, forged.file))
    assert recorded.id in found
    assert ("names another key" if endorsed else "it replaces did not sign it") in found


def _registration(
    ledger: Ledger,
    actor: Actor,
    private: str,
    follows: tuple[str, ...],
    *,
    endorsed: bool = False,
    log: str | None = None,
) -> Draft:
    log = log or ledger.verifier_key.name
    key = public(private)
    payload = key_payload(
        log=log, actor=actor.pseudonym, thumbprint=key.thumbprint, follows=follows
    )
    proof = sign_detached(payload, private)
    return Draft(
        type=RecordType.KEY_REGISTERED,
        actor=actor,
        outcome="registered",
        body=KeyRegistered(
            jwk=key.jwk,
            thumbprint=key.thumbprint,
            log=log,
            endorsement=proof if endorsed else None,
        ),
        follows=follows,
        subject=actor.pseudonym,
        key=key.thumbprint,
        signature=proof,
    )


def test_a_key_registered_as_if_none_stood_is_refused_by_the_protocol(forged: Forged) -> None:
    ledger, actor = forged.clinic.ledger, forged.clinic.clinician
    with pytest.raises(StepMissing):
        ledger.record(_registration(ledger, actor, new_key(), ()))
    with pytest.raises(StepMissing):
        ledger.record(_registration(ledger, actor, new_key(), (forged.decided.id, "x", "y")))
    forged.clinic.ledger.close()


def test_a_withdrawal_that_names_another_key_than_it_follows_is_found(forged: Forged) -> None:
    """What a member signs names the key that they were told of, whichever record it follows."""
    clinic, own = forged.clinic, new_key()
    own_key(clinic.ledger, member(clinic), own)
    holder = clinic.ledger.get(KeyHolder, clinic.clinician.pseudonym)
    assert holder is not None
    body = KeyWithdrawn(thumbprint=public(own).thumbprint, ground=KeyGround.LOST)
    draft = Draft(
        type=RecordType.KEY_WITHDRAWN,
        actor=member(clinic),
        outcome="withdrawn",
        body=body,
        follows=(holder.registration,),
        subject=clinic.clinician.pseudonym,
    )
    recorded = forged.record(
        with_key(own, lambda signature: signed(clinic.ledger, draft, signature))
    )
    found = said(exported(clinic.home, forged.file))
    assert f"record {recorded.id}" in found
    assert "names another key than the registration" in found


def test_a_registration_carried_over_from_another_log_is_found(forged: Forged) -> None:
    elsewhere = _registration(
        forged.clinic.ledger, member(forged.clinic), new_key(), (), log="garant.local/elsewhere"
    )
    recorded = forged.record(elsewhere)
    found = said(exported(forged.clinic.home, forged.file))
    assert f"record {recorded.id}" in found
    assert "was registered for the log 'garant.local/elsewhere'" in found
