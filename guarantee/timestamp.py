"""What a timestamping authority says of a checkpoint: that it existed at a time. RFC 3161."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256, sha384, sha512
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from guarantee.errors import GuaranteeError

TIMEOUT_SECONDS: Final = 30
_MOST_BYTES: Final = 1 << 20
_GRANTED: Final = (0, 1)


class TimestampError(GuaranteeError):
    """There is no timestamp, or it is not to be trusted."""


class AuthorityUnavailable(TimestampError):
    """The authority did not answer, or answered with something else than a timestamp."""


class TimestampRefused(TimestampError):
    """The timestamp is of other bytes, or of an authority that is not trusted here."""


def fetch_timestamp(url: str, note: bytes, *, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """Ask an authority for a timestamp of these bytes; its answer, DER, holds its certificates.

    Only a SHA-512 hash of the note leaves the house. The answer's nonce, time and hash are
    checked; whether the authority is to be trusted is for `verify_timestamp`.

    Raises:
        AuthorityUnavailable: Not reached, or not a granted timestamp of these bytes.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise AuthorityUnavailable(f"{url} is no address of an authority: http or https")
    request = (
        TimestampRequestBuilder()
        .data(note)
        .hash_algorithm(HashAlgorithm.SHA512)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
    )
    asked = urllib.request.Request(  # noqa: S310  # http and https alone, checked above
        url,
        data=request.as_bytes(),
        headers={"Content-Type": "application/timestamp-query"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(asked, timeout=timeout_seconds) as given:  # noqa: S310
            answer: bytes = given.read(_MOST_BYTES)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise AuthorityUnavailable(f"{url} gave no timestamp: {error}") from error
    response = _decoded(answer)
    info = response.tst_info
    if info.nonce != request.nonce:
        raise AuthorityUnavailable(f"{url} answered another request: its nonce differs")
    if info.message_imprint.message != request.message_imprint.message:
        raise AuthorityUnavailable(f"{url} timestamped other bytes")
    return answer


def verify_timestamp(
    answer: bytes, note: bytes, authorities: Sequence[x509.Certificate]
) -> datetime:
    """Check that one of these authorities timestamped `note`; returns when.

    Args:
        answer: As `fetch_timestamp` gave it.
        note: The timestamped bytes.
        authorities: Root certificates that are trusted.

    Raises:
        TimestampRefused: Other bytes, another authority, or no timestamp at all.
    """
    try:
        response = _decoded(answer)
    except AuthorityUnavailable as error:
        raise TimestampRefused(str(error)) from error
    # One by one: the builder's copies share their list of roots.
    refusal: Exception | None = None
    for authority in authorities:
        try:
            VerifierBuilder(roots=[authority]).build().verify_message(response, note)
        except (VerificationError, ValueError) as error:
            refusal = error
            continue
        return response.tst_info.gen_time.astimezone(UTC)
    raise TimestampRefused(f"the timestamp does not hold: {refusal}") from refusal


def check_imprint(answer: bytes, note: bytes) -> None:
    """Check that a timestamp is of `note`, whoever gave it.

    Raises:
        TimestampRefused: Other bytes, or no timestamp at all.
    """
    try:
        imprint = _decoded(answer).tst_info.message_imprint.message
    except AuthorityUnavailable as error:
        raise TimestampRefused(str(error)) from error
    if imprint not in {sha512(note).digest(), sha384(note).digest(), sha256(note).digest()}:
        raise TimestampRefused("the timestamp is of other bytes")


def authorities_in(path: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file.

    Raises:
        TimestampError: It cannot be read, or holds none.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TimestampError(f"{path} holds no certificate in PEM: {error}") from error


def _decoded(answer: bytes) -> TimeStampResponse:
    try:
        response = decode_timestamp_response(answer)
        if response.status in _GRANTED:
            _ = response.tst_info.gen_time
            return response
    except ValueError as error:
        raise AuthorityUnavailable("the answer is no timestamp (RFC 3161)") from error
    reasons = ", ".join(response.status_string) or f"status {response.status}"
    raise AuthorityUnavailable(f"the authority refused: {reasons}")
