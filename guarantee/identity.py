"""Who is who: roles, professionals (RPPS) and patients (INS), validated on arrival."""

import re
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationInfo,
    field_validator,
)


class Role(StrEnum):
    """What a caller may do; one a token."""

    CLINICIAN = "clinician"
    DATA_SCIENTIST = "data_scientist"
    COLLEGE = "college"
    MONITOR = "monitor"
    DPO = "dpo"
    INTEGRATOR = "integrator"


class Profession(StrEnum):
    """The seats of a college of human guarantee."""

    PHYSICIAN = "physician"
    PARAMEDIC = "paramedic"
    PATIENT_REPRESENTATIVE = "patient_representative"
    OTHER = "other"


class Assurance(StrEnum):
    """How a caller's identity is known, and so what a signature is worth."""

    ISSUER = "attested_by_issuer"
    OWN_KEY = "signed_with_own_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A person as a token names them; the log knows them by a random pseudonym only.

    Attributes:
        issuer: The issuer's URL or name, from the token.
        subject: The issuer's identifier of the person: an RPPS number for clinicians.
        attestation: The token itself, which the record of a decision keeps, sealed.
        issuer_key: The issuer's public key that the token was checked with, a JWK.
    """

    issuer: str
    subject: str
    role: Role
    name: str | None = None
    attestation: str | None = field(default=None, repr=False)
    issuer_key: str | None = None


class InvalidIdentity(ValueError):
    """An identifier is not one that its authority could have issued."""


def check_rpps(number: str, *, luhn: bool) -> None:
    """Check an RPPS number: 11 digits and, where `luhn` is set, Luhn's key.

    Published samples fail Luhn's test, so it is asked for in production alone.

    Raises:
        InvalidIdentity: Not 11 digits, or a wrong key.
    """
    if not re.fullmatch(r"[0-9]{11}", number):
        raise InvalidIdentity("an RPPS number has 11 digits")
    if not luhn:
        return
    doubled = [
        digit * 2 - 9 * (digit > 4) if place % 2 else digit
        for place, digit in enumerate(int(figure) for figure in reversed(number))
    ]
    if sum(doubled) % 10:
        raise InvalidIdentity("the RPPS number's last digit does not match the others")


def professional_number(subject_name_id: str, *, luhn: bool) -> str:
    """The RPPS number in Pro Santé Connect's `SubjectNameID` (a type digit and a number).

    Raises:
        InvalidIdentity: The type is not 8 (RPPS), or the number is malformed.
    """
    known = {
        "0": "ADELI",
        "1": "cabinet ADELI",
        "3": "FINESS",
        "4": "SIREN",
        "5": "SIRET",
        "6": "cabinet RPPS",
    }
    kind, number = subject_name_id[:1], subject_name_id[1:]
    if kind != "8":
        raise InvalidIdentity(
            f"SubjectNameID is of type {known.get(kind, 'unknown')}, RPPS (8) is needed"
        )
    check_rpps(number, luhn=luhn)
    return number


def _is_day(value: object) -> object:
    # Pydantic takes midnights and seconds since 1970 for dates.
    if type(value) is date or (isinstance(value, str) and _DAY.fullmatch(value)):
        return value
    raise ValueError("is not a day; send it as 1969-05-12")


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
Day = Annotated[date, BeforeValidator(_is_day)]
"""A day as RFC 3339 writes it, and in no other way."""

INS_OIDS = {"1.2.250.1.213.1.4.8": "NIR", "1.2.250.1.213.1.4.9": "NIA"}
INS_TEST_OIDS = {"1.2.250.1.213.1.4.10": "NIR", "1.2.250.1.213.1.4.11": "NIR"}


def ins_key(matricule: str) -> str:
    """The two-digit key of a 13-character matricule; Corsica's 2A and 2B count as 19 and 18."""
    digits = matricule.replace("2A", "19", 1).replace("2B", "18", 1)
    return f"{97 - int(digits) % 97:02d}"


class Patient(BaseModel):
    """A patient by INS: matricule, key, OID and the five strict traits.

    Error messages name the field at fault and never hold its value.

    Source: ANS, référentiel Identifiant national de santé.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True
    )

    matricule: str = Field(description="13 characters, 2A or 2B for Corsica")
    key: str = Field(description="Two digits")
    oid: str = Field(description="The authority that assigned the matricule")
    birth_name: str = Field(min_length=1, max_length=100)
    given_names: str = Field(min_length=1, max_length=200, description="As on the civil record")
    birth_date: Day
    sex: Literal["F", "M", "I"] = Field(description="I: indeterminate")
    birth_place: str = Field(pattern=r"^([0-9]{5}|2[AB][0-9]{3})$", description="INSEE code")
    qualified: StrictBool = Field(description="INS retrieved from the teleservice, traits checked")

    @field_validator("matricule")
    @classmethod
    def _matricule_is_well_formed(cls, matricule: str) -> str:
        if not re.fullmatch(r"[0-9]{5}([0-9]{2}|2[AB])[0-9]{6}", matricule):
            raise ValueError("a matricule has 13 characters, digits but for 2A or 2B")
        return matricule

    @field_validator("oid")
    @classmethod
    def _oid_is_an_ins_authority(cls, oid: str) -> str:
        if oid not in INS_OIDS and oid not in INS_TEST_OIDS:
            raise ValueError("not an OID of the INS: see 1.2.250.1.213.1.4.8 to .11")
        return oid

    @field_validator("key")
    @classmethod
    def _key_matches(cls, key: str, info: ValidationInfo) -> str:
        # A matricule that is none has been refused already.
        if "matricule" in info.data and key != ins_key(info.data["matricule"]):
            raise ValueError("the key does not match the matricule")
        return key

    @property
    def is_test(self) -> bool:
        """Whether the OID is one of those reserved for tests; refused in production."""
        return self.oid in INS_TEST_OIDS
