"""One dossier, opened for somebody who holds an export: content without any key.

A header commits to its sealed body: SHA-256 over a tag, a nonce and the body's bytes. Whoever is
given nonce and bytes can check them against a header of a verified log, and learns nothing of any
other record. So the patient's key stays in the house. That a decision was signed with its
clinician's own key, verifying an export shows without any of this: the header holds the signature
over a digest of the words, and the words are held against that digest here.

The file is RFC 8785 JSON: `format` ("garant-disclosure"), `version` (1), `dossier`, and `opened`,
which maps the id of each sealed record of the dossier to the base64 of its nonce and body.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import rfc8785
from sqlalchemy import select

from guarantee.access import read_dossier
from guarantee.bodies import BODY_TYPES, Body, DecisionSigned, Purpose
from guarantee.errors import GuaranteeError
from guarantee.ledger import Ledger
from guarantee.pseudonyms import Actor
from guarantee.records import Header, MalformedRecord
from guarantee.refusals import StepMissing
from guarantee.signature import SignatureRefused
from guarantee.signed_decisions import check_words
from guarantee.source import Source
from guarantee.store import BODIES
from guarantee.vault import COMMITMENT_TAG, NONCE_BYTES, decrypt

FORMAT: Final = "garant-disclosure"
VERSION: Final = 1


class DisclosureRefused(GuaranteeError):
    """What was disclosed is not what the log committed to, or not all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosed:
    """One record of a dossier, with what it says.

    Attributes:
        index: Its zero-based place in the log.
        body: None where the patient was erased.
    """

    index: int
    header: Header
    body: Body | None


def disclose(ledger: Ledger, actor: Actor, *, dossier: str, purpose: Purpose | None) -> str:
    """The openings of a dossier's sealed records, for those entitled to read it.

    That it was read, and why, is on record before this returns.

    Raises:
        NotEntitled: The dossier is not for this reader.
        PurposeMissing: Say why.
        UnknownDossier: No such inference.
        Erased: The patient's records were erased.
        StepMissing: The answer is withheld: a first read is missing.
        VaultError: A stored body or key was altered.
    """
    view = read_dossier(ledger, actor, dossier=dossier, purpose=purpose)
    if view.withheld:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    opened: dict[str, str] = {}
    for event in view.events:
        header = event.recorded.header
        if header.commitment is not None:
            with ledger.store.reading() as connection:
                row = connection.execute(
                    select(BODIES).where(BODIES.c.position == event.recorded.index)
                ).one()
            opening = decrypt(ledger.people.key(row.key_id), row.stored, about=header.id)
            opened[header.id] = base64.b64encode(opening).decode()
    return rfc8785.dumps(
        {"format": FORMAT, "version": VERSION, "dossier": dossier, "opened": opened}
    ).decode()


def open_disclosed(source: Source, disclosure: str) -> list[Disclosed]:
    """What a disclosed dossier says, each body checked against the log's header.

    Args:
        source: An export, verified before: only then are its headers the log's.
        disclosure: As `disclose` gave it.

    Raises:
        DisclosureRefused: A body is not the one committed to, a record of the dossier is left
            out, or one is not in this log.
    """
    dossier, openings = _read(disclosure)
    disclosed = []
    for entry in source.entries():
        if dossier.encode() not in entry.header:
            continue
        header = _header(entry.header)
        if header is None or header.dossier != dossier:
            continue
        if header.commitment is None:
            body = None if entry.stored is None else _body(header, entry.stored)
        elif entry.stored is None:
            body = None
        else:
            body = _body(header, _opened(header, openings.pop(header.id, None)))
            if isinstance(body, DecisionSigned):
                _check_words(header, body)
        disclosed.append(Disclosed(index=entry.place, header=header, body=body))
    if openings:
        raise DisclosureRefused(
            f"{len(openings)} of its records are not in this log: take a newer export"
        )
    if not disclosed:
        raise DisclosureRefused("the log holds no such inference: take a newer export")
    return disclosed


def write_disclosure(file: Path, disclosure: str) -> None:
    """Write it for its owner's eyes alone: it holds what is clinical.

    Raises:
        DisclosureRefused: The file is there already, or cannot be written.
    """
    try:
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(disclosure)
    except OSError as error:
        raise DisclosureRefused(f"{file} cannot be written: {error}") from error


def _read(disclosure: str) -> tuple[str, dict[str, bytes]]:
    try:
        facts = json.loads(disclosure)
        if facts["format"] != FORMAT or facts["version"] != VERSION:
            raise DisclosureRefused("this is no disclosure, or a later version's")
        opened: Mapping[str, str] = facts["opened"]
        return str(facts["dossier"]), {
            key: base64.b64decode(value, validate=True) for key, value in opened.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DisclosureRefused("this is no disclosure") from error


def _header(encoded: bytes) -> Header | None:
    try:
        return Header.decode(encoded)
    except MalformedRecord:
        return None


def _opened(header: Header, opening: bytes | None) -> bytes:
    if opening is None:
        raise DisclosureRefused(f"record {header.id} of the dossier was left out: ask again")
    if sha256(COMMITMENT_TAG + opening).hexdigest() != header.commitment:
        raise DisclosureRefused(f"record {header.id} committed to another body than this one")
    return opening[NONCE_BYTES:]


def _check_words(header: Header, body: DecisionSigned) -> None:
    try:
        check_words(header, body)
    except SignatureRefused as error:
        raise DisclosureRefused(f"record {header.id}: {error}") from error


def _body(header: Header, encoded: bytes) -> Body:
    try:
        return BODY_TYPES[header.type].model_validate_json(encoded)
    except ValueError as error:
        raise DisclosureRefused(f"record {header.id}: the body is no {header.type}") from error
