"""What the log holds of a record: its header, which anyone may read.

A header is RFC 8785 JSON and carries nothing clinical or personal; the whole protocol can be
checked from headers alone. All else is in the body: see `guarantee.bodies`.
"""

import base64
import binascii
import json
import os
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring

from guarantee.errors import GuaranteeError
from guarantee.identity import Role


class RecordType(StrEnum):
    """Facts, in the past tense."""

    PATIENT_INFORMED = "PatientInformed"
    INFORMATION_DEFERRED = "InformationDeferred"
    PATIENT_OBJECTED = "PatientObjected"
    INFERENCE_MADE = "InferenceMade"
    FIRST_READ = "FirstRead"
    DECISION_SIGNED = "DecisionSigned"
    PATIENT_TOLD = "PatientTold"
    OUTCOME_CONFIRMED = "OutcomeConfirmed"
    REVIEW_LAPSED = "ReviewLapsed"
    WHAT_IF_MADE = "WhatIfMade"
    CORRECTED = "Corrected"
    MODEL_REGISTERED = "ModelRegistered"
    VOTE_CAST = "VoteCast"
    MODEL_APPROVED = "ModelApproved"
    MODEL_PROMOTED = "ModelPromoted"
    MODEL_SUSPENDED = "ModelSuspended"
    MODEL_RESUMED = "ModelResumed"
    MODEL_UPDATED = "ModelUpdated"
    COHORT_SCORED = "CohortScored"
    DRIFT_DETECTED = "DriftDetected"
    DRIFT_CLEARED = "DriftCleared"
    INCIDENT_REPORTED = "IncidentReported"
    INCIDENT_ENDED = "IncidentEnded"
    MEMBER_APPOINTED = "MemberAppointed"
    DRAW_ANNOUNCED = "DrawAnnounced"
    DRAW_ABANDONED = "DrawAbandoned"
    SAMPLE_DRAWN = "SampleDrawn"
    CASE_REVIEWED = "CaseReviewed"
    ACCESS_RECORDED = "AccessRecorded"
    BREAK_GLASS = "BreakGlass"
    CARE_SHARED = "CareShared"
    INFORMATIONS_GATHERED = "InformationsGathered"
    PATIENT_RECTIFIED = "PatientRectified"
    PATIENT_ERASED = "PatientErased"
    HOLD_PLACED = "HoldPlaced"
    KEY_REGISTERED = "KeyRegistered"
    KEY_WITHDRAWN = "KeyWithdrawn"
    KEY_ROTATED = "KeyRotated"
    BACKUP_TAKEN = "BackupTaken"
    LOG_OPENED = "LogOpened"


class MalformedRecord(GuaranteeError):
    """Bytes that no record of this log could have."""


@dataclass(slots=True, kw_only=True)
class Header:
    """One record, as the log's leaf holds it.

    Nobody changes it, though it is not frozen: that would take three times as long to make.

    Attributes:
        id: UUIDv7.
        time: Milliseconds since 1970, UTC: a claim; the log's order is the index.
        dossier: Id of the `InferenceMade` that the record belongs to.
        follows: Ids of the records that it relies on.
        actor: Random pseudonym of who acted.
        outcome: One word.
        vaulted_digest: SHA-256 of the stored body, hexadecimal.
        commitment: SHA-256 over tag, nonce and body of a sealed record; none where it is clear.
        models: What a patient was informed of.
        valid_until: When that information, or a broken glass, ends, in milliseconds since 1970.
        subject: Pseudonym of the person whom a governance record concerns.
        key: Thumbprint of the actor's own key, where the record registers it or is signed with it.
        statement: SHA-256 of a signed decision's words, hexadecimal: see
            `guarantee.signed_decisions`, as for what its signature covers.
        signature: A detached JWS by `key`; what it signs, `guarantee.signing_keys` says.
    """

    type: RecordType
    version: int = 1
    id: str
    time: int
    dossier: str | None = None
    follows: tuple[str, ...] = ()
    model: str | None = None
    model_version: str | None = None
    actor: str
    role: Role
    outcome: str
    vaulted_digest: str
    commitment: str | None = None
    models: tuple[str, ...] | None = None
    valid_until: int | None = None
    subject: str | None = None
    key: str | None = None
    statement: str | None = None
    signature: str | None = None

    def encode(self) -> bytes:
        """The canonical bytes that the log hashes; absent facts are left out."""
        # Names in their order and whole numbers: this is RFC 8785, and many times as fast as a
        # general encoder; a test holds the two together.
        return (
            f'{{"actor":{_word(self.actor)}'
            + ("" if self.commitment is None else f',"commitment":{_word(self.commitment)}')
            + ("" if self.dossier is None else f',"dossier":{_word(self.dossier)}')
            + f',"follows":{_words(self.follows)},"id":{_word(self.id)}'
            + ("" if self.key is None else f',"key":{_word(self.key)}')
            + ("" if self.model is None else f',"model":{_word(self.model)}')
            + (
                ""
                if self.model_version is None
                else f',"model_version":{_word(self.model_version)}'
            )
            + ("" if self.models is None else f',"models":{_words(self.models)}')
            + f',"outcome":{_word(self.outcome)},"role":{_word(self.role)}'
            + ("" if self.signature is None else f',"signature":{_word(self.signature)}')
            + ("" if self.statement is None else f',"statement":{_word(self.statement)}')
            + ("" if self.subject is None else f',"subject":{_word(self.subject)}')
            + f',"time":{self.time},"type":{_word(self.type)}'
            + ("" if self.valid_until is None else f',"valid_until":{self.valid_until}')
            + f',"vaulted_digest":{_word(self.vaulted_digest)},"version":{self.version}}}'
        ).encode()

    @classmethod
    def decode(cls, encoded: bytes) -> "Header":
        """Read a header back.

        Raises:
            MalformedRecord: Not the canonical bytes of a header of a known version.
        """
        try:
            facts = json.loads(encoded)
            header = cls(
                **{
                    **facts,
                    "type": RecordType(facts["type"]),
                    "role": Role(facts["role"]),
                    "actor": sys.intern(facts["actor"]),
                    "follows": _held_once(tuple(facts["follows"])),
                    "model": sys.intern(facts["model"]) if "model" in facts else None,
                    "model_version": (
                        sys.intern(facts["model_version"]) if "model_version" in facts else None
                    ),
                    "models": _held_once(tuple(facts["models"])) if "models" in facts else None,
                }
            )
            canonical = header.has_its_types() and header.encode() == encoded
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise MalformedRecord("the bytes are not a header's") from error
        if not canonical:
            raise MalformedRecord("the header is not in canonical form")
        if header.version != 1:
            raise MalformedRecord("the header is of a later version: update the verifier")
        return header

    def has_its_types(self) -> bool:
        """Whether every fact is a word, a whole number or words: what JSON may have changed."""
        words = (self.id, self.actor, self.outcome, self.vaulted_digest)
        maybe = (
            self.dossier,
            self.model,
            self.model_version,
            self.commitment,
            self.subject,
            self.key,
            self.statement,
            self.signature,
        )
        numbers = (self.version, self.time, self.valid_until or 0)
        return (
            all(isinstance(word, str) for word in (*words, *self.follows, *(self.models or ())))
            and all(word is None or isinstance(word, str) for word in maybe)
            and all(type(number) is int for number in numbers)
        )


@lru_cache(maxsize=1024)
def _held_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """The same names, in one object for all headers that carry them: replays remember millions."""
    return names


HEADER_FIELDS = tuple(Header.__slots__)
_word = encode_basestring


def _words(words: tuple[str, ...]) -> str:
    return "[" + ",".join(map(_word, words)) + "]"


class Ids:
    """UUIDv7s in the order in which they were made: an index takes them in at its end.

    Source: RFC 9562, sections 5.7 and 6.2, method 2.
    """

    def __init__(self) -> None:
        self._last_time = self._last = 0

    def new(self, time: int) -> str:
        """One of that time in milliseconds; in one thread at a time."""
        # One bit of 74 is left to those of the same millisecond, each so many at random after
        # the one before that nobody guesses it.
        drawn = int.from_bytes(os.urandom(10)) >> 7
        self._last = self._last + 1 + (drawn >> 41) if time == self._last_time else drawn
        self._last_time = time
        return _uuid(time, self._last)


def _uuid(time: int, random: int) -> str:
    """A UUIDv7 of 48 bits of time and 74 random ones."""
    first = (time & (1 << 48) - 1) << 16 | 0x7 << 12 | random >> 62
    second = 0b10 << 62 | random & (1 << 62) - 1
    text = f"{first << 64 | second:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def made_at(record_id: str) -> int:
    """The time with which a record's id begins: its header's, in milliseconds since 1970, UTC."""
    return int(record_id[:8] + record_id[9:13], 16)


def first_id(at: int) -> str:
    """No UUIDv7 of that time, in milliseconds, or later is before it.

    Source: RFC 9562, section 5.7.
    """
    digits = f"{max(at, 0):012x}"
    return f"{digits[:8]}-{digits[8:12]}"


def pack_floats(values: Iterable[float]) -> str:
    """Base64 of little-endian float32: no decimal rounding, a third of JSON's size."""
    packed = array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()


def unpack_floats(text: str) -> "array[float]":
    """The values that `pack_floats` packed.

    Raises:
        MalformedRecord: Not base64, or not whole float32 values.
    """
    values = array("f")
    try:
        values.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise MalformedRecord("not base64 of float32 values") from error
    if sys.byteorder == "big":
        values.byteswap()
    return values
