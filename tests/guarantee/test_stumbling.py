"""A house that signs whatever it likes: the verifier names it, and stumbles over none of it."""

import json
import secrets
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from guarantee import college, review
from guarantee.bodies import Opinion
from guarantee.home import Home
from guarantee.identity import Role
from guarantee.records import Header
from guarantee.signature import new_key
from guarantee.verify import verify_home
from tests.guarantee.attacker import Row, log_key, rewrite
from tests.guarantee.clinic import CARD, Clinic, own_key, with_key

NASTY = (
    "null",
    "true",
    "[]",
    "{}",
    "-1",
    "9" * 300,
    "9" * 5_000,
    "1e999",
    '"\\u0000"',
    '"\\ud800"',
    '"' + "9" * 5_000 + '"',
    '"' + "[" * 20_000 + '"',
    "[" * 20_000,
    '{"a":' * 20_000,
    '["a","a"]',
    "[[]]",
    '""',
    '"{}"',
    '"1/0"',
    '"é.é.é"',
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A log with a record of most clear types, on which later checks lean."""
    clinic = Clinic.founded(tmp_path_factory.mktemp("pristine") / "home")
    member = clinic.actor("member-physician", Role.COLLEGE)
    own = new_key()
    own_key(clinic.ledger, member, own)
    clinic.whole_dossier()
    secret = secrets.token_bytes(32)
    announcement = with_key(
        own,
        lambda signature: review.announce(
            clinic.ledger,
            member,
            rate="1/1",
            secret_sha256=sha256(secret).hexdigest(),
            signature=signature,
        ),
    )
    drawn = review.draw(clinic.ledger, member, announcement=announcement.id, secret=secret)
    with_key(
        own,
        lambda signature: review.review(
            clinic.ledger,
            member,
            announcement=announcement.id,
            dossier=drawn.dossiers[0],
            opinion=Opinion.AGREED,
            concerns=[],
            signature=signature,
        ),
    )
    clinic.register("2")
    physician = clinic.actor("member-physician", Role.COLLEGE)
    assert physician == member
    college.status(clinic.ledger)
    clinic.ledger.close()
    return clinic.home


def placed(home: Home, pristine: Home, index: int, row: Row) -> None:
    """Make that row the log's at its index, and all others what they were."""
    shutil.copy(pristine.database, home.database)
    rewrite(
        home,
        lambda rows: [row if place == index else one for place, one in enumerate(rows)],
        signer=log_key(home),
    )


def all_rows(home: Home) -> list[Row]:
    kept: list[Row] = []

    def keep(rows: list[Row]) -> list[Row]:
        kept.extend(rows)
        return rows

    rewrite(home, keep, signer=log_key(home))
    return kept


@pytest.mark.slow
def test_no_clear_body_that_a_house_signs_makes_the_verifier_stumble(
    pristine: Home, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(pristine.path, home.path)
    rows = all_rows(home)
    assert verify_home(home).verified
    seen = set()
    for index, row in enumerate(rows):
        if row.header.commitment is not None or row.stored is None or row.header.type in seen:
            continue
        seen.add(row.header.type)
        body = json.loads(row.stored)
        for name in body:
            for nasty in NASTY:
                altered = json.dumps({**body, name: "HERE"}).replace('"HERE"', nasty)
                placed(home, pristine, index, row.with_body(altered.encode()))
                verify_home(home)
        for stored in (b"", b"\xff", b"[" * 20_000, b"null", b'{"a":' * 20_000):
            placed(home, pristine, index, row.with_body(stored))
            assert not verify_home(home).verified
    assert len(seen) > 8


@pytest.mark.slow
def test_no_header_that_a_house_signs_makes_the_verifier_stumble(
    pristine: Home, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(pristine.path, home.path)
    rows = all_rows(home)
    odd: list[dict[str, object]] = [
        {"time": 10**300},
        {"time": -(10**18)},
        {"valid_until": 10**300},
        {"version": 2},
        {"follows": ()},
        {"follows": ("x",) * 3},
        {"outcome": "\x1b[2J"},
        {"dossier": None},
        {"dossier": "x"},
        {"model": "é/é"},
        {"model": None},
        {"model_version": None},
        {"models": ()},
        {"subject": "\x00"},
        {"actor": ""},
        {"commitment": "x"},
        {"commitment": None},
        {"role": Role.MONITOR},
    ]
    seen = set()
    for index, row in enumerate(rows):
        if row.header.type in seen:
            continue
        seen.add(row.header.type)
        for facts in odd:
            header: Header = replace(row.header, **facts)  # type: ignore[arg-type]  # odd, on purpose
            placed(home, pristine, index, replace(row, header=header))
            for finding in verify_home(home).findings:
                assert str(finding).isprintable()
    assert CARD.name in {row.header.model for row in rows}
