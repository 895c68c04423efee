"""An issuer outside, over real HTTP: what of it is believed, and what never is."""

import base64
import hmac
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from guarantee.home import Home
from guarantee.identity import Role
from guarantee.signature import PublicKey, verify_attestation
from serving.auth import Issuer, Unauthenticated
from serving.oidc import IssuerUnreachable, Outside, issuer_of
from serving.settings import OutsideIssuer, Settings
from tests.serving.conftest import (
    GARANT_SERVE,
    MODEL,
    ROOT,
    asked,
    check_ledger,
    free_port,
    start,
    stop,
)
from tests.serving.issuing import AUDIENCE, DISCOVERY, OutsideProvider, provided
from tests.serving.test_rest import problem


@pytest.fixture
def provider() -> Iterator[OutsideProvider]:
    with provided() as provider:
        yield provider


def outside(provider: OutsideProvider, *, role_claim: str | None = None) -> Outside:
    configured = OutsideIssuer(url=provider.url, audience=AUDIENCE, role_claim=role_claim)
    return Outside(configured, luhn=False)


@pytest.fixture
def issuer(provider: OutsideProvider) -> Outside:
    return outside(provider)


def test_a_clinician_of_pro_sante_connect_is_known_by_their_rpps_number(
    provider: OutsideProvider, issuer: Outside
) -> None:
    token = provider.token(name="Dr A")
    caller = issuer.verify_token(token)
    assert (caller.issuer, caller.subject, caller.role, caller.name) == (
        provider.url,
        "10000000001",
        Role.CLINICIAN,
        "Dr A",
    )
    assert caller.attestation == token
    # A verifier checks it from the record alone.
    verify_attestation(
        token,
        PublicKey.parse(caller.issuer_key or ""),
        issuer=caller.issuer,
        subject=caller.subject,
        at=int(time.time() * 1000),
    )


@pytest.mark.parametrize(
    "key",
    [ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519"), RSAKey.generate_key(2048)],
    ids=lambda key: key.key_type,
)
def test_every_kind_of_key_that_is_pinned_is_believed(
    provider: OutsideProvider, issuer: Outside, key: ECKey | OKPKey | RSAKey
) -> None:
    provider.publish(key, x5c=["what else is published is not recorded"])
    caller = issuer.verify_token(provider.token(key=key))
    assert "x5c" not in (caller.issuer_key or "")


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "http://127.0.0.1:1/realm"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another", "third"]},
        {"aud": None},
        {"sub": None},
        {"sub": 7},
        {"exp": None},
        {"exp": 1},
        {"exp": "soon"},
        {"iat": None},
        {"iat": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"SubjectNameID": None},
        {"SubjectNameID": "310000000001"},
        {"SubjectNameID": ["810000000001"]},
    ],
)
def test_a_claim_that_is_wrong_or_absent_is_refused(
    provider: OutsideProvider, issuer: Outside, changed: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        issuer.verify_token(provider.token(**changed))


def test_several_audiences_may_hold_ours(provider: OutsideProvider, issuer: Outside) -> None:
    caller = issuer.verify_token(provider.token(aud=["account", AUDIENCE], nbf=1))
    assert caller.role is Role.CLINICIAN


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def unsigned(algorithm: str, kid: str, provider: OutsideProvider) -> str:
    parts = ({"alg": algorithm, "kid": kid}, provider.claims())
    return ".".join(base64url(json.dumps(part).encode()) for part in parts)


def test_nobody_else_s_key_and_no_other_algorithm_is_believed(
    provider: OutsideProvider, issuer: Outside
) -> None:
    other = ECKey.generate_key("P-256")
    own = provider.key.thumbprint()
    public = provider.key.as_pem(private=False)
    symmetric = unsigned("HS256", own, provider)
    forged = [
        provider.token(key=other),
        provider.token(key=other, header={"kid": own}),
        provider.token(key=other, header={"kid": own, "jwk": other.as_dict(private=False)}),
        provider.token(header={"kid": None}),
        provider.token(key=RSAKey.generate_key(2048), header={"kid": own}),
        # The public key as the secret of a symmetric algorithm: RFC 8725, section 2.1.
        f"{symmetric}.{base64url(hmac.digest(public, symmetric.encode(), 'sha256'))}",
        f"{unsigned('none', own, provider)}.",
        "no token",
        "a.b.c",
        "",
        provider.token() + "x" * 20_000,
    ]
    for token in forged:
        with pytest.raises(Unauthenticated):
            issuer.verify_token(token)


@pytest.mark.parametrize("members", [{"use": "enc"}, {"alg": "PS256"}, {"kty": "oct"}])
def test_a_key_that_is_for_something_else_is_not_used(
    provider: OutsideProvider, issuer: Outside, members: dict[str, Any]
) -> None:
    provider.publish(provider.key, **members)
    with pytest.raises(Unauthenticated):
        issuer.verify_token(provider.token())


def test_a_short_rsa_key_is_not_used(provider: OutsideProvider, issuer: Outside) -> None:
    with pytest.warns(SecurityWarning):
        short = RSAKey.generate_key(1024)
    provider.publish(short)
    with pytest.raises(Unauthenticated):
        issuer.verify_token(provider.token(key=short, header={"alg": "RS256"}))


def passed(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if so many seconds had gone by for the keys."""
    now = time.monotonic
    monkeypatch.setattr("serving.oidc.time.monotonic", lambda: now() + seconds)


def test_keys_are_fetched_once_and_anew_for_a_rotated_one(
    provider: OutsideProvider, issuer: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        issuer.verify_token(provider.token())
    assert provider.asked == [DISCOVERY, "/realm/keys"]

    old, new = provider.key, ECKey.generate_key("P-256")
    provider.publish(old, new)
    # What nobody signed has them fetched no more than once in ten seconds.
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            issuer.verify_token(provider.token(key=new))
    assert len(provider.asked) == 2
    passed(11, monkeypatch)
    issuer.verify_token(provider.token(key=new))
    issuer.verify_token(provider.token(key=old))
    assert len(provider.asked) == 4


def test_a_key_that_is_withdrawn_is_believed_no_more_after_ten_minutes(
    provider: OutsideProvider, issuer: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = provider.token()
    issuer.verify_token(token)
    provider.publish(ECKey.generate_key("P-256"))
    passed(601, monkeypatch)
    with pytest.raises(Unauthenticated):
        issuer.verify_token(token)


def test_while_the_issuer_is_away_known_keys_are_believed_for_an_hour(
    provider: OutsideProvider, issuer: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = provider.token()
    issuer.verify_token(token)
    provider.reachable = False
    passed(3590, monkeypatch)
    issuer.verify_token(token)
    passed(3601, monkeypatch)
    with pytest.raises(IssuerUnreachable):
        issuer.verify_token(token)
    provider.reachable = True
    passed(3700, monkeypatch)
    issuer.verify_token(token)


@pytest.mark.parametrize(
    "discovery",
    [
        b"no JSON",
        b"[]",
        b'{"issuer": "https://another.example", "jwks_uri": "https://another.example/keys"}',
        b'{"jwks_uri": "http://127.0.0.1/keys"}',
        b'{"issuer": "URL", "jwks_uri": "http://keys.example/keys"}',
        b'{"issuer": "URL", "jwks_uri": "file:///etc/passwd"}',
        b'{"issuer": "URL"}',
        b'{"issuer": "URL", "jwks_uri": "URL/none"}',
        b" " * 600_000,
    ],
)
def test_an_issuer_that_describes_another_or_hides_its_keys_is_not_believed(
    provider: OutsideProvider, issuer: Outside, discovery: bytes
) -> None:
    provider.documents[DISCOVERY] = discovery.replace(b"URL", provider.url.encode())
    with pytest.raises(IssuerUnreachable):
        issuer.verify_token(provider.token())


def test_one_role_comes_from_the_claim_that_is_configured(provider: OutsideProvider) -> None:
    flat, nested = (outside(provider, role_claim=one) for one in ("roles", "realm.roles"))
    college = flat.verify_token(provider.token(roles=["offline", "college"]))
    assert (college.role, college.subject) == (Role.COLLEGE, "f:a-keycloak-id:ans")
    assert flat.verify_token(provider.token(roles="clinician")).subject == "10000000001"
    monitor = nested.verify_token(provider.token(realm={"roles": ["monitor"]}))
    assert monitor.role is Role.MONITOR
    by_name = outside(provider, role_claim="https://garant.example/role")
    token = provider.token(more={"https://garant.example/role": "dpo"})
    assert by_name.verify_token(token).role is Role.DPO
    for roles in (None, [], "physician", ["college", "clinician"], [["college"]], {"college": 1}):
        with pytest.raises(Unauthenticated, match="one role"):
            flat.verify_token(provider.token(roles=roles))


def test_the_settings_say_which_issuer(tmp_path: Path, provider: OutsideProvider) -> None:
    environ = {
        "GARANT_HOME": str(tmp_path),
        "GARANT_OIDC_ISSUER": provider.url,
        "GARANT_OIDC_AUDIENCE": AUDIENCE,
    }
    assert issuer_of(Settings.read(environ)).name == provider.url
    # The embedded one leaves no key behind that could issue beside it.
    assert not (tmp_path / "keys" / "issuer.jwk").exists()
    assert isinstance(issuer_of(Settings.read({"GARANT_HOME": str(tmp_path)})), Issuer)


def garant(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "garant", *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_main_job_is_done_under_an_issuer_outside_and_under_it_alone(
    home: Home, tmp_path: Path, provider: OutsideProvider
) -> None:
    embedded = Issuer.open(home)
    environment = {
        "GARANT_OIDC_ISSUER": provider.url,
        "GARANT_OIDC_AUDIENCE": AUDIENCE,
        "GARANT_OIDC_ROLE_CLAIM": "roles",
    }
    refused = garant("token", "--role", "clinician", GARANT_HOME=str(home.path), **environment)
    assert refused.returncode == 1
    assert provider.url in refused.stderr

    service = start(home, tmp_path / "log", *GARANT_SERVE, **environment)
    try:

        def client(token: str) -> httpx.Client:
            return httpx.Client(
                base_url=service.url,
                headers={"Authorization": f"Bearer {token}"},
                timeout=60,
                trust_env=False,
            )

        with client(provider.token(roles=["clinician"])) as clinician:
            answer = asked(clinician, MODEL)
            path = f"/v1/inferences/{answer['inference_id']}"
            decided = clinician.post(f"{path}/decision", json={"decision": "accepted"})
            assert decided.status_code == 201, decided.text
            event = clinician.get(path).json()["events"][1]
            assert event["body"]["assurance"] == "attested_by_issuer"
        with service.client(Role.CLINICIAN) as of_the_house:
            assert of_the_house.headers["Authorization"]
            problem(of_the_house.get("/v1/models"), 401)
        with client(provider.token(roles=["clinician", "college"])) as both:
            problem(both.get("/v1/models"), 401)
    finally:
        stop(service)
    assert embedded.name not in service.printed()
    check_ledger(home)


@contextmanager
def node_provider() -> Iterator[str]:
    """The address of `oidc-provider`, answering until the block ends."""
    node, installed = shutil.which("node"), ROOT / "build" / "oidc-provider"
    if node is None or not (installed / "node_modules").is_dir():
        pytest.skip("`make test-all` installs oidc-provider, where npm is there")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    script = ROOT / "tests" / "serving" / "provider" / "provider.mjs"
    # From stdin, so that its imports are those of the folder that it runs in.
    with (
        script.open("rb") as source,
        subprocess.Popen(
            [node, "--input-type=module", "-", url, str(port)],
            cwd=installed,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert url in (line.strip() for line in process.stdout), "it did not start"
            yield url
        finally:
            process.kill()


@pytest.mark.slow
def test_a_provider_that_others_wrote_is_believed() -> None:
    with node_provider() as url:
        given = httpx.post(
            f"{url}/token",
            data={"grant_type": "client_credentials"},
            auth=("ehr", "of-a-test"),
            trust_env=False,
        )
        token = str(given.json()["access_token"])
        configured = OutsideIssuer(url=url, audience=AUDIENCE, role_claim="roles")
        caller = Outside(configured, luhn=False).verify_token(token)
        assert (caller.issuer, caller.subject, caller.role) == (url, "10000000001", Role.CLINICIAN)
        verify_attestation(
            token,
            PublicKey.parse(caller.issuer_key or ""),
            issuer=url,
            subject="10000000001",
            at=int(time.time() * 1000),
        )
        head, _, signature = token.rpartition(".")
        altered = f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
        for other, refused in (
            (configured, altered),
            (replace(configured, audience="another"), token),
            (replace(configured, role_claim="role"), token),
        ):
            with pytest.raises(Unauthenticated):
                Outside(other, luhn=False).verify_token(refused)
        with pytest.raises(IssuerUnreachable):
            Outside(replace(configured, url=f"{url}/"), luhn=False).verify_token(token)
