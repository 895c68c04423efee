"""Tiles over HTTP as c2sp.org/tlog-tiles has them, and an implementation that is not ours."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from guarantee.appending import Draft
from guarantee.bodies import CohortScored
from guarantee.checkpoint import parse, parse_proof, verify
from guarantee.identity import Caller, Role
from guarantee.ledger import Ledger
from guarantee.merkle import leaf_hash, root_of
from guarantee.records import RecordType
from tests.serving.conftest import MODEL, Service

SUMDB = Path("/usr/share/gocode")
"""Where Debian's golang-golang-x-mod-dev lays its sources."""


@pytest.fixture(scope="module")
def long_log(service: Service) -> Service:
    """A log of more than two tiles, beside the running service."""
    with Ledger.open(service.home) as ledger:
        actor = ledger.people.actor(
            Caller(issuer=service.issuer.name, subject="scientist", role=Role.DATA_SCIENTIST)
        )
        scored = CohortScored(cases=1, input_sha256="0" * 64, output_sha256="0" * 64)
        draft = Draft(
            type=RecordType.COHORT_SCORED,
            actor=actor,
            outcome="scored",
            body=scored,
            model=MODEL,
            model_version="1",
        )
        assert len(list(ledger.record_all([draft] * 600))) == 600
    return service


@pytest.fixture
def anonymous(long_log: Service) -> Iterator[httpx.Client]:
    with long_log.client(None) as client:
        yield client


def bundle(content: bytes) -> list[bytes]:
    entries = []
    while content:
        length = int.from_bytes(content[:2])
        entries.append(content[2 : 2 + length])
        content = content[2 + length :]
    return entries


def test_tiles_and_entries_lead_to_the_signed_root(
    long_log: Service, anonymous: httpx.Client
) -> None:
    given = anonymous.get("/v1/ledger/checkpoint")
    assert given.headers["content-type"].startswith("text/plain")
    checkpoint = parse(given.text)
    whole, rest = divmod(checkpoint.size, 256)
    places = [f"{index:03}" for index in range(whole)] + [f"{whole:03}.p/{rest}"] * (rest > 0)
    leaves: list[bytes] = []
    for place in places:
        tile = anonymous.get(f"/v1/ledger/tile/0/{place}")
        entries = anonymous.get(f"/v1/ledger/tile/entries/{place}")
        assert tile.headers["content-type"] == "application/octet-stream"
        assert "immutable" in tile.headers["cache-control"] == entries.headers["cache-control"]
        hashes = [leaf_hash(entry) for entry in bundle(entries.content)]
        assert tile.content == b"".join(hashes)
        leaves += hashes
    assert root_of(leaves) == checkpoint.root
    above = anonymous.get(f"/v1/ledger/tile/1/000.p/{whole}").content
    assert above == b"".join(root_of(leaves[at : at + 256]) for at in range(0, whole * 256, 256))


def test_a_partial_tile_is_the_beginning_of_the_whole_one(anonymous: httpx.Client) -> None:
    whole = anonymous.get("/v1/ledger/tile/0/000").content
    assert len(whole) == 256 * 32
    assert anonymous.get("/v1/ledger/tile/0/000.p/7").content == whole[: 7 * 32]
    entries = bundle(anonymous.get("/v1/ledger/tile/entries/000.p/3").content)
    assert [sha256(b"\x00" + entry).digest() for entry in entries] == [
        whole[at : at + 32] for at in (0, 32, 64)
    ]


@pytest.mark.parametrize(
    "place",
    [
        "0/999",
        "0/x001/000",
        "0/000.p/256",
        "0/000.p/0",
        "0/000.p/07",
        "0/x000/000",
        "0/0",
        "0/0000",
        "0/000/",
        "0/-01",
        "0/000.p/",
        "1/000",
        "7/000.p/1",
        "63/000.p/1",
        "entries/999",
        "entries/000.p/256",
        "entries/x000/001",
        "entries/0",
    ],
)
def test_what_no_tile_of_the_signed_log_has_as_its_address_is_not_there(
    anonymous: httpx.Client, place: str
) -> None:
    assert anonymous.get(f"/v1/ledger/tile/{place}").status_code == 404


@pytest.mark.parametrize("place", ["64/000.p/1", "-1/000", "data/000", "x/000"])
def test_a_level_that_no_log_has_is_refused(anonymous: httpx.Client, place: str) -> None:
    assert anonymous.get(f"/v1/ledger/tile/{place}").status_code in {404, 422}


@pytest.mark.slow
def test_go_s_sumdb_agrees_with_checkpoint_tiles_and_proofs(
    long_log: Service, anonymous: httpx.Client, tmp_path: Path
) -> None:
    go = shutil.which("go")
    assert go, "needs Debian's golang-go and golang-golang-x-mod-dev"
    assert SUMDB.is_dir(), "needs Debian's golang-golang-x-mod-dev"
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(SUMDB), "GOFLAGS": ""}
    environment |= {"GOCACHE": str(tmp_path / "cache")}
    program = tmp_path / "mirror"
    source = Path(__file__).with_name("mirror.go")
    subprocess.run([go, "build", "-o", program, source], env=environment, check=True)

    checkpoint = parse(anonymous.get("/v1/ledger/checkpoint").text)
    with Ledger.open(long_log.home) as ledger:
        key = str(ledger.verifier_key)
        places = [0, 1, 2, 254, 255, 256, 511, 512, checkpoint.size - 1]
        records = [
            parse_proof(ledger.receipt(ledger.page(place, 1)[0].id).proof) for place in places
        ]
        sizes = [1, 2, 3, 128, 255, 256, 257, 512, checkpoint.size - 1, checkpoint.size]
        trees = [(size, ledger.root(size), ledger.consistency(size)[0]) for size in sizes]
    given = {
        "Records": [{"Index": one.index, "Path": _base64(one.path)} for one in records],
        "Trees": [
            {"Size": size, "Root": base64.b64encode(root).decode(), "Path": _base64(path)}
            for size, root, path in trees
        ],
    }
    answered = subprocess.run(
        [program, f"{long_log.url}/v1/ledger", key],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answered.returncode == 0, answered.stderr
    verdict = json.loads(answered.stdout)
    assert verdict["Size"] == checkpoint.size
    assert (verdict["Records"], verdict["Trees"]) == (len(places), len(sizes))
    assert verify(verdict["Note"], verdict["Key"]).root == checkpoint.root


def _base64(path: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in path]
