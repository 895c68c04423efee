"""What every thread's messages are made of."""

import re
from datetime import MAXYEAR, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BEGINS_WITH_A_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
# Every JSON reader takes whole numbers up to here for what they are.
MOST: Final = 2**53 - 1


def _is_uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError("is not a UUID in lower case, such as Garant gave it")
    return text


def _is_time(value: object) -> object:
    # Pydantic takes numbers, and digits, for seconds since 1970.
    if isinstance(value, str) and _BEGINS_WITH_A_DAY.match(value):
        return value
    raise ValueError("is not a time; send it as 2027-11-24T00:00:00Z")


def _is_near(time: datetime) -> datetime:
    # One more year, and some time zone could not write it.
    if time.year >= MAXYEAR:
        raise ValueError("is too far away; leave it out where the information has no end")
    return time


RecordId = Annotated[
    str,
    AfterValidator(_is_uuid),
    Field(description="A UUID", json_schema_extra={"format": "uuid"}),
]


Instant = Annotated[AwareDatetime, BeforeValidator(_is_time), AfterValidator(_is_near)]
Pseudonym = Annotated[str, Field(description="Random; tells nothing of the person")]
Signature = Annotated[
    str, Field(max_length=16_384, description="A detached JWS, header..signature (RFC 7515, F)")
]


class Taken(BaseModel):
    """What a caller sends; a field that nobody knows is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Given(BaseModel):
    """What a caller gets."""

    model_config = ConfigDict(frozen=True)


class StepRecorded(Given):
    """One more record, now in the log."""

    record_id: RecordId
    index: int = Field(description="Its zero-based place in the log")


class PayloadGiven(Given):
    """What to sign: read it, then sign these characters as UTF-8, byte for byte."""

    payload: str = Field(description="RFC 8785 JSON")


class ReceiptGiven(Given):
    """A record's header and the proof that it stands in the log."""

    header: str = Field(description="The canonical bytes that the log hashes, as text")
    proof: str = Field(description="A C2SP tlog-proof with a signed checkpoint")
