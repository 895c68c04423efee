"""Tokens of the embedded issuer: what is believed, what never is."""

import base64
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from guarantee.home import Home
from guarantee.identity import Caller, InvalidIdentity, Role
from serving.auth import AUDIENCE, Forbidden, Issuer, IssuerUnavailable, Unauthenticated, require

NOW = 1_795_000_000
HOUR = timedelta(hours=1)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return replace(Issuer.open(Home(tmp_path)), clock=lambda: NOW)


def claims(issuer: Issuer, **changed: object) -> dict[str, Any]:
    whole = {
        "iss": issuer.name,
        "aud": AUDIENCE,
        "sub": "somebody",
        "iat": NOW,
        "exp": NOW + 3600,
        "jti": "1",
        "role": "monitor",
        **changed,
    }
    return {name: value for name, value in whole.items() if value is not None}


def signed(issuer: Issuer, **changed: object) -> str:
    return jwt.encode({"alg": "ES256"}, claims(issuer, **changed), issuer.key)


def unpadded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def test_a_clinician_is_known_by_the_rpps_number_of_pro_sante_connect(issuer: Issuer) -> None:
    token = issuer.issue(role=Role.CLINICIAN, subject="10000000001", lifetime=HOUR, name="Dr A")
    payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert payload["SubjectNameID"] == "810000000001"
    caller = issuer.verify_token(token)
    assert (caller.subject, caller.role, caller.name) == ("10000000001", Role.CLINICIAN, "Dr A")
    assert caller.issuer == issuer.name
    assert caller.attestation == token
    assert token not in repr(caller)


def test_every_token_differs_and_so_does_its_attestation(issuer: Issuer) -> None:
    tokens = {issuer.issue(role=Role.DPO, subject="d", lifetime=HOUR) for _ in range(3)}
    assert len({issuer.verify_token(token).attestation for token in tokens}) == 3


def test_a_token_lives_its_time_and_half_a_minute_of_clocks_that_differ(issuer: Issuer) -> None:
    token = issuer.issue(role=Role.DPO, subject="d", lifetime=HOUR)
    replace(issuer, clock=lambda: NOW + 3629).verify_token(token)
    with pytest.raises(Unauthenticated, match="expired"):
        replace(issuer, clock=lambda: NOW + 3630).verify_token(token)
    with pytest.raises(Unauthenticated):
        replace(issuer, clock=lambda: NOW - 31).verify_token(token)


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://elsewhere.test"},
        {"aud": "another-service"},
        {"aud": ["another-service"]},
        {"role": "director"},
        {"role": ["monitor"]},
        {"sub": 7},
        {"exp": "tomorrow"},
        {"nbf": NOW + 3600},
        *({absent: None} for absent in ("iss", "aud", "sub", "iat", "exp", "jti", "role")),
    ],
)
def test_a_claim_that_is_wrong_or_absent_is_refused(
    issuer: Issuer, changed: dict[str, Any]
) -> None:
    issuer.verify_token(signed(issuer))
    with pytest.raises(Unauthenticated):
        issuer.verify_token(signed(issuer, **changed))


@pytest.mark.parametrize("named", [None, 810000000001, "310000000001", "8123", "8" + "x" * 11])
def test_a_clinician_without_an_rpps_number_is_refused(issuer: Issuer, named: object) -> None:
    with pytest.raises(Unauthenticated):
        issuer.verify_token(signed(issuer, role="clinician", SubjectNameID=named))


def test_another_algorithm_or_key_is_refused(issuer: Issuer) -> None:
    facts = claims(issuer)
    body = unpadded(json.dumps(facts).encode())
    none = unpadded(b'{"alg":"none"}')
    public = json.dumps(issuer.key.as_dict(private=False)).encode()
    head, good_body, signature = signed(issuer).split(".")
    confused = jwt.encode({"alg": "HS256"}, facts, OctKey.import_key(public), algorithms=["HS256"])
    rsa = jwt.encode({"alg": "RS256"}, facts, RSAKey.generate_key(2048), algorithms=["RS256"])
    stranger = ECKey.generate_key("P-256")
    forged = jwt.encode({"alg": "ES256"}, facts, stranger)
    carried = jwt.encode({"alg": "ES256", "jwk": stranger.as_dict(private=False)}, facts, stranger)
    for token in (
        f"{none}.{body}.",
        f"{none}.{body}",
        confused,
        rsa,
        forged,
        carried,
        f"{head}.{body}.{signature}" if body != good_body else f"{head}.{good_body}.",
        f"{head}.{good_body}.{signature[:-4]}AAAA",
    ):
        with pytest.raises(Unauthenticated) as refused:
            issuer.verify_token(token)
        assert body not in str(refused.value)


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "é", "\x00", "W10.W10.W10", "e30.e30.", "{}", "x" * 9000]
)
def test_what_is_no_token_is_refused(issuer: Issuer, token: str) -> None:
    with pytest.raises(Unauthenticated):
        issuer.verify_token(token)


def test_in_production_the_last_digit_of_an_rpps_number_counts(tmp_path: Path) -> None:
    strict = Issuer.open(Home(tmp_path), luhn=True)
    with pytest.raises(InvalidIdentity):
        strict.issue(role=Role.CLINICIAN, subject="10000000001", lifetime=HOUR)
    lenient = Issuer.open(Home(tmp_path))
    token = lenient.issue(role=Role.CLINICIAN, subject="10000000001", lifetime=HOUR)
    with pytest.raises(Unauthenticated):
        strict.verify_token(token)


def test_workers_that_start_together_share_one_key_readable_by_its_owner(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: Issuer.open(home).name, range(16)))
    assert len(names) == 1
    assert [path.name for path in home.keys.iterdir()] == ["issuer.jwk"]
    assert stat.S_IMODE((home.keys / "issuer.jwk").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"kty": "oct", "k": "AAAA"}'])
def test_a_damaged_key_file_is_named_and_not_replaced(tmp_path: Path, content: str) -> None:
    home = Home(tmp_path)
    home.keys.mkdir()
    (home.keys / "issuer.jwk").write_text(content)
    with pytest.raises(IssuerUnavailable, match=r"issuer\.jwk"):
        Issuer.open(home)
    assert (home.keys / "issuer.jwk").read_text() == content


def test_two_homes_do_not_believe_each_other(tmp_path: Path) -> None:
    one, other = Issuer.open(Home(tmp_path / "a")), Issuer.open(Home(tmp_path / "b"))
    with pytest.raises(Unauthenticated):
        other.verify_token(one.issue(role=Role.DPO, subject="d", lifetime=HOUR))


def test_a_role_is_required_by_name() -> None:
    caller = Caller(issuer="i", subject="s", role=Role.MONITOR)
    require(caller, Role.CLINICIAN, Role.MONITOR)
    with pytest.raises(Forbidden, match="clinician, college"):
        require(caller, Role.CLINICIAN, Role.COLLEGE)
