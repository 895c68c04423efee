"""The college and people's own keys over HTTP, and by command from a member's own machine."""

import json
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import rfc8785
import typer
from typer.testing import CliRunner

from guarantee import versions
from guarantee.college import appoint
from guarantee.college_commands import college_app
from guarantee.home import Home
from guarantee.identity import Profession, Role
from guarantee.key_commands import key_app
from guarantee.ledger import Ledger
from guarantee.remote import Remote, RemoteRefused, RemoteUnavailable
from guarantee.signature import PublicKey, new_key, private_key, sign_detached
from serving.auth import Issuer
from serving.commands import authenticate
from tests.models.conftest import card_of
from tests.serving.conftest import LABELS, MODEL, Service, asked, check_ledger, size, token
from tests.serving.test_rest import problem

PARAMEDIC = "member-paramedic"
PHYSICIAN = "member-physician"
SIGNER = "10000000099"


def jwk(private: str) -> dict[str, Any]:
    public: dict[str, Any] = json.loads(PublicKey.of(private_key(private)).jwk)
    return public


def register(client: httpx.Client, private: str, standing: str | None = None) -> dict[str, Any]:
    """Register the key; where `standing` is given, it is replaced."""
    asked_for = problem(client.post("/v1/keys", json={"jwk": jwk(private)}), 422)
    payload = asked_for["payload"].encode()
    body = {"jwk": jwk(private), "proof": sign_detached(payload, private)}
    if standing is not None:
        body["endorsement"] = sign_detached(payload, standing)
    given = client.post("/v1/keys", json=body)
    assert given.status_code == 201, given.text
    recorded: dict[str, Any] = given.json()
    return recorded


def new_version(service: Service) -> str:
    """A version that waits for votes, registered by the scientist in another process."""
    version = uuid4().hex[:8]
    with Ledger.open(service.home) as ledger:
        scientist = ledger.people.actor(
            authenticate(service.home, token(service.issuer, Role.DATA_SCIENTIST, "scientist"))
        )
        versions.register_model(
            ledger,
            scientist,
            card=card_of(LABELS, MODEL),
            version=version,
            digest="ab" * 32,
            run="run",
        )
    return version


# Decisions


def test_a_decision_is_signed_with_the_clinicians_own_key(service: Service) -> None:
    private = new_key()
    with service.client(Role.CLINICIAN, SIGNER) as clinician:
        inference = f"/v1/inferences/{asked(clinician)['inference_id']}"
        decision = {"decision": "accepted"}
        shown = clinician.post(f"{inference}/decision-payload", json=decision)
        assert shown.status_code == 200, shown.text
        payload, label = shown.json()["payload"], shown.json()["label"]
        assert label in LABELS
        salt = bytes.fromhex(shown.json()["salt"])
        # The clinician's software sees that the payload is the decision, as README tells it.
        words = rfc8785.dumps({"label": label, "reason": None})
        statement = sha256(b"garant signed statement v1\0" + salt + words).hexdigest()
        signed_facts = json.loads(payload)
        assert (signed_facts["decision"], signed_facts["statement"]) == ("accepted", statement)
        signature = sign_detached(payload.encode(), private)
        signed = {**decision, "signature": signature}

        before = size(service)
        unregistered = problem(clinician.post(f"{inference}/decision", json=signed), 422)
        assert "garant key register" in unregistered["detail"]
        assert size(service) == before
        recorded = register(clinician, private)
        assert recorded["thumbprint"] == PublicKey.of(private_key(private)).thumbprint

        before = size(service)
        elsewhere = f"/v1/inferences/{asked(clinician)['inference_id']}"
        forged = sign_detached(payload.encode(), new_key())
        for path, body in (
            (elsewhere, signed),
            (inference, {**decision, "signature": forged}),
            (inference, {**decision, "reason": "put in later", "signature": signature}),
            (inference, {**decision, "signature": ""}),
        ):
            refused = problem(clinician.post(f"{path}/decision", json=body), 422)
            assert signature not in json.dumps(refused)
        # Informing and asking elsewhere made two records; the refused decisions none.
        assert size(service) == before + 2

        given = clinician.post(f"{inference}/decision", json=signed)
        assert given.status_code == 201, given.text
        lower = clinician.post(f"{elsewhere}/decision", json=decision)
        assert lower.status_code == 201, lower.text
        levels = [
            clinician.get(path).json()["events"][-1]["body"]["assurance"]
            for path in (inference, elsewhere)
        ]
        assert levels == ["signed_with_own_key", "attested_by_issuer"]


def test_a_private_key_or_one_that_cannot_sign_is_not_registered(service: Service) -> None:
    private = new_key()
    with service.client(Role.CLINICIAN, SIGNER) as clinician:
        refused = problem(clinician.post("/v1/keys", json={"jwk": json.loads(private)}), 422)
        assert "private" in refused["detail"]
        assert json.loads(private)["d"] not in json.dumps(refused)
        for text in (
            "",
            "[]",
            {"kty": "oct", "k": "AA"},
            {"kty": "OKP", "crv": "X25519", "x": "AA"},
        ):
            problem(clinician.post("/v1/keys", json={"jwk": text}), 422)
    assert json.loads(private)["d"] not in service.printed()
    with service.client(Role.MONITOR) as monitor:
        problem(monitor.post("/v1/keys", json={"jwk": jwk(private)}), 403)


def test_a_token_alone_does_not_replace_a_key_and_two_members_withdraw_a_lost_one(
    service: Service, tmp_path: Path
) -> None:
    lost, found = new_key(), new_key()
    someone = f"1{uuid4().int % 10**10:010d}"
    with service.client(Role.CLINICIAN, someone) as clinician:
        register(clinician, lost)
        before = size(service)
        minted: dict[str, Any] = {"jwk": jwk(found)}
        payload = problem(clinician.post("/v1/keys", json=minted), 422)["payload"].encode()
        minted["proof"] = sign_detached(payload, found)
        refused = problem(clinician.post("/v1/keys", json=minted), 422)
        assert refused["payload"].encode() == payload
        assert "stands" in refused["detail"]
        forged = {**minted, "endorsement": sign_detached(payload, found)}
        problem(clinician.post("/v1/keys", json=forged), 422)
        assert size(service) == before

    thumbprint = PublicKey.of(private_key(lost)).thumbprint
    college = {}
    for place in range(2):
        # Other tests give keys to the founders.
        seat, private = f"keeper-{place}-{uuid4().hex}", tmp_path / f"{place}.jwk"
        run(key_app, ["new", str(private)], None, "")
        with Ledger.open(service.home) as ledger:
            appointer = ledger.people.actor(
                authenticate(service.home, token(service.issuer, Role.COLLEGE, PHYSICIAN))
            )
            member = ledger.people.actor(
                authenticate(service.home, token(service.issuer, Role.COLLEGE, seat))
            )
            appoint(ledger, appointer, member=member, profession=Profession.OTHER)
        bearer = token(service.issuer, Role.COLLEGE, seat)
        run(key_app, ["register", "--key", str(private)], service, bearer)
        college[seat] = (private, bearer)
    for private, bearer in college.values():
        withdrawing = ["withdraw", thumbprint, "--ground", "lost", "--key", str(private)]
        assert "withdrawn" in run(key_app, withdrawing, service, bearer)
    with service.client(Role.CLINICIAN, someone) as clinician:
        register(clinician, found)
    with service.client(Role.COLLEGE, PHYSICIAN) as member_without_key:
        lost_again = f"/v1/keys/{PublicKey.of(private_key(found)).thumbprint}/withdrawal"
        problem(member_without_key.post(lost_again, json={"ground": "lost"}), 409)
        problem(member_without_key.post(lost_again, json={"ground": " "}), 422)
        problem(member_without_key.post("/v1/keys/x/withdrawal", json={"ground": "lost"}), 422)
    # The old key's file replaces the key by command, too.
    (private, bearer), _ = college.values()
    later = tmp_path / "later.jwk"
    run(key_app, ["new", str(later)], None, "")
    replacing = ["register", "--key", str(later)]
    where = ["--service", service.url, "--token", bearer]
    bare = CliRunner().invoke(key_app, [*replacing, *where], obj=authenticate)
    assert "give its file with --standing" in bare.output
    run(key_app, [*replacing, "--standing", str(private)], service, bearer)


# Votes


def test_a_member_with_a_key_signs_their_votes(service: Service) -> None:
    private, version = new_key(), new_version(service)
    votes, ballot = f"/v1/models/{MODEL}/votes", {"version": version, "in_favour": True}
    with service.client(Role.COLLEGE, PARAMEDIC) as member:
        register(member, private)
        needed = problem(member.post(votes, json=ballot), 422)
        payload = member.post(f"/v1/models/{MODEL}/vote-payload", json=ballot).json()["payload"]
        assert needed["payload"] == payload
        signature = sign_detached(payload.encode(), private)
        against = {**ballot, "in_favour": False, "signature": signature}
        problem(member.post(votes, json=against), 422)
        key = {"Idempotency-Key": str(uuid4())}
        given = [
            member.post(votes, json={**ballot, "signature": signature}, headers=key)
            for _ in range(2)
        ]
        assert [one.status_code for one in given] == [201, 201]
        assert given[0].json()["record_id"] == given[1].json()["record_id"]
        problem(member.post(votes, json={**ballot, "signature": signature}), 409)
        seats = member.get("/v1/college").json()["members"]
        assert "paramedic" in [one["profession"] for one in seats if one["own_key"]]


# Draws and reviews


def test_a_draw_is_announced_revealed_and_reviewed(
    service: Service, clinician: httpx.Client
) -> None:
    for _ in range(3):
        asked(clinician)
    secret = uuid4().bytes * 2
    digest = sha256(secret).hexdigest()
    with service.client(Role.COLLEGE, PHYSICIAN) as member:
        announcing = {"rate": "1/2", "model": MODEL, "secret_sha256": digest}
        problem(member.post("/v1/college/draws", json={**announcing, "rate": "3/2"}), 422)
        announced = member.post("/v1/college/draws", json=announcing)
        assert announced.status_code == 201, announced.text
        draw = announced.json()["record_id"]
        asked(clinician)

        sample = f"/v1/college/draws/{draw}/sample"
        problem(member.post(sample, json={"secret": "00" * 32}), 422)
        nothing = {"secret": secret.hex(), "inferences": []}
        assert "differ" in problem(member.post(sample, json=nothing), 422)["detail"]
        problem(member.post(f"/v1/college/draws/{uuid4()}/sample", json=nothing), 409)
        drawn = member.post(sample, json={"secret": secret.hex()})
        assert drawn.status_code == 201, drawn.text
        cases = drawn.json()["inferences"]
        assert cases
        problem(member.post(sample, json={"secret": secret.hex()}), 409)
        # Other tests erase patients in this same home.
        status = member.get("/v1/college").json()
        standing = next(one for one in status["draws"] if one["draw"] == draw)
        erased = set(standing["erased"])
        case = next(one for one in cases if one not in erased)

        judged = {
            "draw": draw,
            "inference_id": case,
            "opinion": "disagreed",
            "concerns": ["explanation"],
        }
        undrawn = {**judged, "inference_id": asked(clinician)["inference_id"]}
        assert (
            "not drawn" in problem(member.post("/v1/college/reviews", json=undrawn), 422)["detail"]
        )
        problem(member.post("/v1/college/reviews", json={**judged, "opinion": "maybe"}), 422)
        given = member.post("/v1/college/reviews", json=judged)
        assert given.status_code == 201, given.text
        problem(member.post("/v1/college/reviews", json=judged), 409)
        status = member.get("/v1/college").json()
        standing = next(one for one in status["draws"] if one["draw"] == draw)
        assert standing["drawn"] == len(cases)
        assert standing["to_review"] == sorted(set(cases) - erased - {case})
        assert status["disagreement"]["disagreed"] >= 1
        assert 0 <= status["disagreement"]["low"] <= status["disagreement"]["share"]
        why = {"purpose": "review"}
        dossier = member.get(f"/v1/inferences/{case}", params=why).json()
        (reviewed,) = (one for one in dossier["events"] if one["type"] == "CaseReviewed")
        assert reviewed["body"] == {"opinion": "disagreed", "concerns": ["explanation"]}
        assert (
            "announced before"
            in problem(member.post("/v1/college/draws", json=announcing), 422)["detail"]
        )
    announcing["secret_sha256"] = sha256(secret + b"another").hexdigest()
    with service.client(Role.COLLEGE, "nobody-appointed") as stranger:
        problem(stranger.post("/v1/college/draws", json=announcing), 403)
        problem(stranger.post("/v1/college/reviews", json=judged), 403)
    problem(clinician.post("/v1/college/draws", json=announcing), 403)


# From a member's own machine


def run(
    app: typer.Typer,
    arguments: list[str],
    service: Service | None,
    bearer: str,
    given: str | None = None,
) -> str:
    where = ["--service", service.url, "--token", bearer] if service else []
    result = CliRunner().invoke(app, [*arguments, *where], obj=authenticate, input=given)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_member_draws_from_their_own_machine_and_the_service_never_sees_the_secret(
    service: Service, clinician: httpx.Client, tmp_path: Path
) -> None:
    case = asked(clinician)["inference_id"]
    bearer = token(service.issuer, Role.COLLEGE, PHYSICIAN)
    kept = tmp_path / "draw.secret"
    announcing = ["announce", "--rate", "1/1", "--secret-file", str(kept), "--model", MODEL]
    said = run(college_app, announcing, service, bearer)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    again = run(college_app, announcing, service, bearer)
    draw = said.split("record ")[1].split(",")[0]
    assert f"record {draw}," in again
    secret = kept.read_text().strip()
    files = [path for path in service.home.path.rglob("*") if path.is_file()]
    assert not any(secret.encode() in path.read_bytes() for path in files)

    drawn = run(college_app, ["draw", draw, "--secret-file", str(kept)], service, bearer)
    assert case in drawn
    status = json.loads(run(college_app, ["status"], service, bearer))
    assert draw in [one["draw"] for one in status["draws"]]
    reviewing = ["review", draw, case, "--opinion", "unclear", "--concern", "answer"]
    assert "reviewed" in run(college_app, reviewing, service, bearer)

    # The next draw takes what came since, waits for this one's sample, and can be given up.
    later = asked(clinician)["inference_id"]
    forgotten = tmp_path / "forgotten.secret"
    announcing = ["announce", "--rate", "1/1", "--model", MODEL, "--secret-file"]
    said = run(college_app, [*announcing, str(forgotten)], service, bearer)
    open_one = said.split("record ")[1].split(",")[0]
    where = ["--service", service.url, "--token", bearer]
    second = [*announcing, str(tmp_path / "second.secret"), *where]
    refused = CliRunner().invoke(college_app, second, obj=authenticate)
    assert open_one in refused.output
    giving_up = ["abandon", open_one, "--reason", "the file is lost"]
    refused = CliRunner().invoke(college_app, [*giving_up, *where], obj=authenticate)
    assert "another member" in refused.output
    seat = "member-other-hands"
    with Ledger.open(service.home) as ledger:
        appointer, member = (
            ledger.people.actor(
                authenticate(service.home, token(service.issuer, Role.COLLEGE, who))
            )
            for who in (PHYSICIAN, seat)
        )
        appoint(ledger, appointer, member=member, profession=Profession.OTHER)
    other = token(service.issuer, Role.COLLEGE, seat)
    assert "abandoned" in run(college_app, giving_up, service, other)
    third = [*announcing, str(tmp_path / "third.secret")]
    draw = run(college_app, third, service, bearer).split("record ")[1].split(",")[0]
    drawing = ["draw", draw, "--secret-file", str(tmp_path / "third.secret")]
    drawn = run(college_app, drawing, service, bearer)
    assert later in drawn
    assert case not in drawn


def test_a_member_makes_registers_and_votes_with_a_key_from_their_own_machine(
    service: Service, tmp_path: Path
) -> None:
    seat = "member-patient_representative"
    bearer = token(service.issuer, Role.COLLEGE, seat)
    private = tmp_path / "mine.jwk"
    assert '"d"' not in run(key_app, ["new", str(private)], None, bearer)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "registered" in run(key_app, ["register", "--key", str(private)], service, bearer)
    version = new_version(service)
    voting = ["vote", MODEL, version, "--in-favour", "--key", str(private)]
    assert "voted" in run(college_app, voting, service, bearer)
    signature = run(key_app, ["sign", "--key", str(private)], None, bearer, given="{}")
    assert ".." in signature


def test_the_same_commands_work_on_the_houses_own_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    bearer = token(Issuer.open(home), Role.COLLEGE, PHYSICIAN)
    where = ["--home", str(home.path), "--token", bearer]
    seat = ["appoint", "--subject", PHYSICIAN, "--profession", "physician"]
    assert "appointed" in run(college_app, [*seat, *where], None, bearer)
    private = tmp_path / "mine.jwk"
    run(key_app, ["new", str(private)], None, bearer)
    assert "registered" in run(key_app, ["register", "--key", str(private), *where], None, bearer)
    nurse = ["appoint", "--subject", "a-nurse", "--profession", "paramedic", *where]
    assert (
        "give its file with --key"
        in CliRunner().invoke(college_app, nurse, obj=authenticate).output
    )
    assert "appointed" in run(college_app, [*nurse, "--key", str(private)], None, bearer)
    again = CliRunner().invoke(key_app, ["new", str(private)])
    assert again.exit_code == 1

    inside = ["announce", "--rate", "1/2", "--secret-file", str(home.path / "s"), *where]
    refused = CliRunner().invoke(college_app, inside, obj=authenticate)
    assert refused.exit_code == 1
    assert "outside" in refused.output
    kept = tmp_path / "draw.secret"
    announcing = ["announce", "--rate", "1/2", "--secret-file", str(kept), *where]
    unsigned = CliRunner().invoke(college_app, announcing, obj=authenticate)
    assert "give its file with --key" in unsigned.output
    announcing += ["--key", str(private)]
    draw = run(college_app, announcing, None, bearer).split("record ")[1].split(",")[0]
    drawing = ["draw", draw, "--secret-file", str(kept), *where]
    assert f"record {draw}," in run(college_app, announcing, None, bearer)
    assert "0 cases" in run(college_app, drawing, None, bearer)
    status = run(college_app, ["status", "--home", str(home.path)], None, bearer)
    assert "no case was reviewed yet" in status
    assert PublicKey.of(private_key(private.read_text())).thumbprint in status
    assert "paramedic" in status
    check_ledger(home)


def test_a_token_travels_over_https_alone_or_to_this_machine(service: Service) -> None:
    for address in ("http://garant.example", "ftp://127.0.0.1", "garant.example"):
        with pytest.raises(RemoteRefused, match="https"):
            Remote(address, "t").get("/v1/college")
    with pytest.raises(RemoteUnavailable):
        Remote("http://127.0.0.1:1", "t").get("/v1/college")
    with pytest.raises(RemoteRefused, match="token"):
        Remote(service.url, "no-token").get("/v1/college")
    assert "t0ken" not in repr(Remote(service.url, "t0ken"))
