"""Who sits in the college, how it votes, and what a member's own signature is worth."""

import json
from dataclasses import replace
from datetime import date

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from guarantee import college, versions
from guarantee.appending import Draft, Request
from guarantee.bodies import BackupTaken, KeyRegistered, ModelApproved, VoteCast
from guarantee.identity import Profession, Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import AlreadyDone, NotAMember, OwnKeyNeeded, RoleRefused
from guarantee.signature import PublicKey, SignatureRefused, new_key, sign_detached
from guarantee.signing_keys import check_key, check_vote, register_key
from guarantee.situations import Version, version_key
from tests.guarantee.clinic import CARD, DIGEST, Clinic, own_key, with_key


def member(clinic: Clinic, profession: Profession = Profession.PHYSICIAN) -> Actor:
    return clinic.actor(f"member-{profession}", Role.COLLEGE)


def public(private: str) -> PublicKey:
    key = OKPKey.import_key(json.loads(private))
    return PublicKey.of(key)


def signed(clinic: Clinic, private: str, *, version: str = "2", in_favour: bool = True) -> str:
    payload = college.vote_to_sign(
        clinic.ledger, name=CARD.name, version=version, in_favour=in_favour, reason=None
    )
    return sign_detached(payload, private)


def vote(
    clinic: Clinic, voter: Actor, signature: str | None, *, in_favour: bool = True
) -> college.Vote:
    return college.vote(
        clinic.ledger,
        voter,
        name=CARD.name,
        version="2",
        in_favour=in_favour,
        signature=signature,
    )


def registration(ledger: Ledger, version: str = "2") -> Recorded:
    situation = ledger.get(Version, version_key(CARD.name, version))
    assert situation is not None
    return ledger.find(situation.registration)


# Seats


def test_a_seated_college_appoints_its_members_itself(clinic: Clinic) -> None:
    newcomer, stranger = (clinic.actor(name, Role.COLLEGE) for name in ("new", "stranger"))
    with pytest.raises(NotAMember, match="itself"):
        college.appoint(clinic.ledger, stranger, member=stranger, profession=Profession.PHYSICIAN)
    college.appoint(clinic.ledger, member(clinic), member=newcomer, profession=Profession.PHYSICIAN)
    with pytest.raises(AlreadyDone):
        college.appoint(
            clinic.ledger, member(clinic), member=newcomer, profession=Profession.PARAMEDIC
        )
    assert len(college.status(clinic.ledger).members) == 4
    assert college.status(clinic.ledger).empty_seats == ()


@pytest.mark.parametrize("role", [Role.DATA_SCIENTIST, Role.INTEGRATOR, Role.MONITOR])
def test_whoever_makes_runs_or_watches_models_has_no_seat(clinic: Clinic, role: Role) -> None:
    insider = clinic.actor("two-hats", role)
    _act_as_insider(clinic, insider)
    seat = clinic.actor("two-hats", Role.COLLEGE)
    assert seat.pseudonym == insider.pseudonym
    with pytest.raises(NotAMember, match=role):
        college.appoint(clinic.ledger, member(clinic), member=seat, profession=Profession.OTHER)
    with pytest.raises(RoleRefused, match="does not act for the college"):
        versions.suspend(clinic.ledger, seat, name=CARD.name, reason="for the college")


@pytest.mark.parametrize("role", [Role.DATA_SCIENTIST, Role.INTEGRATOR, Role.MONITOR])
def test_a_member_never_acts_as_one_who_makes_runs_or_watches(clinic: Clinic, role: Role) -> None:
    with pytest.raises(RoleRefused, match="member of the college"):
        _act_as_insider(clinic, clinic.actor(f"member-{Profession.PHYSICIAN}", role))


def _act_as_insider(clinic: Clinic, actor: Actor) -> None:
    if actor.role is Role.DATA_SCIENTIST:
        versions.register_model(
            clinic.ledger, actor, card=CARD, version="7", digest=DIGEST, run="run"
        )
    elif actor.role is Role.MONITOR:
        versions.suspend(clinic.ledger, actor, name=CARD.name, reason="drift")
    else:
        head = clinic.ledger.head()
        backup = BackupTaken(
            size=head.size, root=head.root.hex(), sha256=DIGEST, expires=date(2027, 1, 1)
        )
        clinic.ledger.record(
            Draft(type=RecordType.BACKUP_TAKEN, actor=actor, outcome="taken", body=backup)
        )


def test_whoever_registered_a_version_does_not_vote_on_it(clinic: Clinic) -> None:
    clinic.register("2")
    registrar = clinic.actor("scientist", Role.COLLEGE)
    with pytest.raises(NotAMember):
        vote(clinic, registrar, None)
    # Past the function, the protocol refuses it too.
    draft = Draft(
        type=RecordType.VOTE_CAST,
        actor=registrar,
        outcome="for",
        body=VoteCast(),
        model=CARD.name,
        model_version="2",
    )
    with pytest.raises(RoleRefused):
        clinic.ledger.record(draft)


def test_only_a_member_resumes_and_approves(clinic: Clinic) -> None:
    stranger = clinic.actor("stranger", Role.COLLEGE)
    versions.suspend(clinic.ledger, stranger, name=CARD.name, reason="anyone may stop it")
    with pytest.raises(NotAMember):
        versions.resume(clinic.ledger, stranger, name=CARD.name, reason="enough")
    versions.resume(clinic.ledger, member(clinic), name=CARD.name, reason="checked")
    clinic.register("2")
    approval = Draft(
        type=RecordType.MODEL_APPROVED,
        actor=stranger,
        outcome="approved",
        body=ModelApproved(digest=DIGEST),
        model=CARD.name,
        model_version="2",
    )
    with pytest.raises(NotAMember):
        clinic.ledger.record(approval)


# Votes signed with a member's own key


def test_a_member_with_a_key_votes_with_it_and_only_with_it(clinic: Clinic) -> None:
    clinic.register("2")
    voter, private, other = member(clinic), new_key(), new_key()
    with pytest.raises(SignatureRefused, match="garant key register"):
        vote(clinic, voter, signed(clinic, private))
    own_key(clinic.ledger, voter, private)
    before = clinic.ledger.head()
    for refused in (
        None,
        "a..b",
        signed(clinic, other),
        signed(clinic, private, version="1"),
        signed(clinic, private, in_favour=False),
    ):
        with pytest.raises(SignatureRefused):
            vote(clinic, voter, refused)
    assert clinic.ledger.head() == before
    cast = vote(clinic, voter, signed(clinic, private)).cast
    with pytest.raises(AlreadyDone):
        vote(clinic, voter, signed(clinic, private))
    seats = {seat.member: seat.key for seat in college.status(clinic.ledger).members if seat.key}
    assert seats == {voter.pseudonym: public(private).thumbprint}

    header, body = cast.header, clinic.ledger.open_as(cast, VoteCast)
    of_two = registration(clinic.ledger).header
    check_vote(header, body, registration=of_two, key=public(private))
    for moved, said, key in (
        (registration(clinic.ledger, "1").header, body, public(private)),
        (of_two, body, public(other)),
        (of_two, body, None),
        (of_two, VoteCast(reason="put in later"), public(private)),
    ):
        with pytest.raises(SignatureRefused):
            check_vote(header, said, registration=moved, key=key)
    for turned in (replace(header, outcome="against"), replace(header, signature="a..b")):
        with pytest.raises(SignatureRefused):
            check_vote(turned, body, registration=of_two, key=public(private))


def test_a_vote_without_a_key_carries_no_signature(clinic: Clinic) -> None:
    clinic.register("2")
    cast = vote(clinic, member(clinic), None).cast
    assert (cast.header.key, cast.header.signature) == (None, None)
    draft = Draft(
        type=RecordType.VOTE_CAST,
        actor=member(clinic, Profession.PARAMEDIC),
        outcome="for",
        body=VoteCast(),
        model=CARD.name,
        model_version="2",
        key=public(new_key()).thumbprint,
        signature="a..b",
    )
    with pytest.raises(OwnKeyNeeded, match="registered no key"):
        clinic.ledger.record(draft)


def test_a_replaced_key_signs_no_more_and_what_it_signed_stays_true(clinic: Clinic) -> None:
    clinic.register("2")
    voter, first, second = member(clinic), new_key(), new_key()
    old = own_key(clinic.ledger, voter, first)
    cast = vote(clinic, voter, signed(clinic, first)).cast
    own_key(clinic.ledger, voter, second, standing=first)
    body = clinic.ledger.open_as(cast, VoteCast)
    registered = check_key(old.header, clinic.ledger.open_as(old, KeyRegistered), standing=None)
    assert cast.header.key == registered.thumbprint
    of_two = registration(clinic.ledger).header
    check_vote(cast.header, body, registration=of_two, key=registered)

    clinic.register("3")
    payload = college.vote_to_sign(
        clinic.ledger, name=CARD.name, version="3", in_favour=True, reason=None
    )
    with pytest.raises(SignatureRefused):
        college.vote(
            clinic.ledger,
            voter,
            name=CARD.name,
            version="3",
            in_favour=True,
            signature=sign_detached(payload, first),
        )
    # A vote that names the old key, or none, is refused by the protocol, too.
    for key, signature in ((cast.header.key, sign_detached(payload, first)), (None, None)):
        with pytest.raises(OwnKeyNeeded):
            clinic.ledger.record(
                Draft(
                    type=RecordType.VOTE_CAST,
                    actor=voter,
                    outcome="for",
                    body=VoteCast(),
                    follows=cast.header.follows,
                    model=CARD.name,
                    model_version="3",
                    key=key,
                    signature=signature,
                )
            )


def test_blanks_around_a_reason_are_neither_recorded_nor_signed(clinic: Clinic) -> None:
    clinic.register("2")
    voter, private = member(clinic), new_key()
    own_key(clinic.ledger, voter, private)

    def cast(signature: str | None) -> college.Vote:
        return college.vote(
            clinic.ledger,
            voter,
            name=CARD.name,
            version="2",
            in_favour=True,
            reason="  Well explained. ",
            signature=signature,
        )

    voted = with_key(private, cast).cast  # The fixture verifies the signature.
    assert clinic.ledger.open_as(voted, VoteCast).reason == "Well explained."


def test_everyone_registers_their_own_key_and_of_a_kind_that_signs(clinic: Clinic) -> None:
    rsa = RSAKey.generate_key(2048)
    with pytest.raises(SignatureRefused, match="Ed25519 or P-256"):
        register_key(clinic.ledger, clinic.clinician, key=PublicKey.of(rsa))
    with pytest.raises(RoleRefused):
        own_key(clinic.ledger, clinic.scientist, new_key())
    key = PublicKey.of(ECKey.generate_key("P-256"))
    with pytest.raises(RoleRefused, match="nobody else's"):
        clinic.ledger.record(
            Draft(
                type=RecordType.KEY_REGISTERED,
                actor=clinic.clinician,
                outcome="registered",
                body=KeyRegistered(jwk=key.jwk, thumbprint=key.thumbprint, log="l"),
                subject=member(clinic).pseudonym,
                key=key.thumbprint,
                signature="a..b",
            )
        )
    mine = own_key(clinic.ledger, clinic.clinician, new_key())
    body = clinic.ledger.open_as(mine, KeyRegistered)
    for update in ({"jwk": key.jwk}, {"log": "another"}):
        with pytest.raises(SignatureRefused):
            check_key(mine.header, body.model_copy(update=update), standing=None)


def test_a_retried_vote_is_cast_once_even_after_the_key_was_replaced(clinic: Clinic) -> None:
    clinic.register("2")
    voter, private = member(clinic), new_key()
    own_key(clinic.ledger, voter, private)
    request = Request(actor=voter.pseudonym, route="vote", key="k", content=b"for")

    def cast() -> college.Vote:
        return college.vote(
            clinic.ledger,
            voter,
            name=CARD.name,
            version="2",
            in_favour=True,
            signature=signed(clinic, private),
            request=request,
        )

    first = cast()
    own_key(clinic.ledger, voter, new_key(), standing=private)
    again = cast()
    assert (again.cast.id, again.cast.repeated) == (first.cast.id, True)
