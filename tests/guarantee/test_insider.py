"""A house that holds every key, the log's own too, and signs what it rewrote.

No signature or hash fails then: what gives it away is that records contradict each other.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey

from guarantee import college, custody, dossier, review
from guarantee.bodies import (
    Body,
    Decision,
    ErasureGround,
    Opinion,
)
from guarantee.home import Home
from guarantee.identity import Role
from guarantee.records import RecordType
from guarantee.signature import PublicKey
from guarantee.signing_keys import register_key
from guarantee.vault import in_clear, seal
from guarantee.verify import Report, verify_home
from tests.guarantee.attacker import Row, log_key, patient_key, rewrite
from tests.guarantee.clinic import CARD, CLINICIAN, Clinic
from tests.guarantee.signing import sign_detached

SECRET = b"s" * 32


@dataclass
class House:
    home: Home
    erased: str

    def rewritten(self, change: Callable[[list[Row]], list[Row]]) -> str:
        rewrite(self.home, change, signer=log_key(self.home))
        return said(verify_home(self.home))

    def altered(self, kind: RecordType, change: Callable[[Body], Body], at: int = 0) -> str:
        """What the verifier says once the body of the first record of a kind is another."""

        def edit(rows: list[Row]) -> list[Row]:
            place = [n for n, row in enumerate(rows) if row.header.type is kind][at]
            rows[place] = self._with(rows[place], change)
            return rows

        return self.rewritten(edit)

    def _with(self, row: Row, change: Callable[[Body], Body]) -> Row:
        from guarantee.bodies import BODY_TYPES
        from guarantee.vault import unseal

        kind, header = BODY_TYPES[row.header.type], row.header
        assert row.stored is not None
        if row.key_id is None or header.commitment is None:
            body = change(kind.model_validate_json(row.stored))
            return row.with_body(in_clear(body.encode()).stored)
        key = patient_key(self.home, row.key_id)
        opened = unseal(key, header.id, row.stored, header.commitment)
        sealed = seal(key, header.id, change(kind.model_validate_json(opened)).encode())
        return row.with_body(sealed.stored, sealed.commitment)


def said(report: Report) -> str:
    return "\n".join(str(finding) for finding in report.findings)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A vote and a decision signed with own keys, a draw with its review, an erasure."""
    clinic = Clinic.opened(tmp_path_factory.mktemp("house") / "home")
    ledger = clinic.ledger
    clinic.register("1")
    members = []
    for profession in ("physician", "paramedic", "patient_representative"):
        member = clinic.actor(f"member-{profession}", Role.COLLEGE)
        members.append(member)
        college.appoint(ledger, member, member=member, profession=profession)  # type: ignore[arg-type]
    own = OKPKey.generate_key("Ed25519")
    register_key(ledger, members[0], key=PublicKey.of(own))
    payload = college.vote_to_sign(ledger, name=CARD.name, version="1", in_favour=True)
    for member in members:
        college.vote(
            ledger,
            member,
            name=CARD.name,
            version="1",
            in_favour=True,
            signature=sign_detached(payload, own) if member is members[0] else None,
        )
    from guarantee import versions

    versions.promote(ledger, clinic.scientist, name=CARD.name, version="1")
    key = OKPKey.generate_key("Ed25519")
    register_key(ledger, clinic.clinician, key=PublicKey.of(key))
    cases = [clinic.infer(clinic.inform(number)).id for number in range(6)]
    to_sign = dossier.decision_to_sign(
        ledger, dossier=cases[0], decision=Decision.ACCEPTED, label=None, reason=None
    )
    dossier.sign_decision(
        ledger,
        clinic.clinician,
        CLINICIAN,
        dossier=cases[0],
        decision=Decision.ACCEPTED,
        label=None,
        reason=None,
        signature=sign_detached(to_sign, key),
    )
    clinic.decide(cases[1])
    from hashlib import sha256

    announced = review.announce(
        ledger, members[0], rate="1/2", secret_sha256=sha256(SECRET).hexdigest()
    )
    drawn = review.draw(ledger, members[0], announcement=announced.id, secret=SECRET)
    review.review(
        ledger,
        members[1],
        announcement=announced.id,
        dossier=drawn.dossiers[0],
        opinion=Opinion.AGREED,
    )
    last = clinic.inform(9)
    clinic.infer(last)
    whose = ledger.sealed_for(last) or ""
    custody.erase(
        ledger,
        clinic.actor("officer", Role.DPO),
        pseudonym=whose,
        ground=ErasureGround.COURT_ORDER,
    )
    clinic.ledger.close()
    return House(clinic.home, whose)


@pytest.fixture
def house(pristine: House, tmp_path: Path) -> House:
    shutil.copytree(pristine.home.path, tmp_path / "home")
    house = House(Home(tmp_path / "home"), pristine.erased)
    assert said(verify_home(house.home)) == ""
    assert house.rewritten(lambda rows: rows) == ""
    return house
