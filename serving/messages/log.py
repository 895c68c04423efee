"""Messages about the log itself."""

from pydantic import Field

from guarantee.records import Header
from serving.messages.parts import Given


class RecordGiven(Given):
    """One record of the log, which names nobody."""

    index: int
    header: Header


class RecordsGiven(Given):
    """A page of the log."""

    size: int = Field(description="Records in the whole log")
    records: tuple[RecordGiven, ...]


class ConsistencyGiven(Given):
    """Proof that the log only grew since an earlier checkpoint. RFC 9162, section 2.1.4."""

    path: tuple[str, ...] = Field(description="Hashes, hexadecimal")
    checkpoint: str
