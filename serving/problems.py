"""Errors as RFC 9457 problem details: what was wrong, where, what to do; never a value."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from guarantee.access import NotEntitled, PurposeMissing
from guarantee.appending import LedgerClosed
from guarantee.bodies import BodyRefused
from guarantee.dossier import InvalidDecision
from guarantee.draw import SampleRefused
from guarantee.erasure import ImplausibleDeath
from guarantee.errors import GuaranteeError
from guarantee.logged import BodyMissing, LedgerUnavailable, UnknownRecord
from guarantee.pseudonyms import (
    IdentityMismatch,
    IdentityMoved,
    IdentityTaken,
    UnknownPerson,
)
from guarantee.refusals import (
    AlreadyDone,
    Erased,
    NotAMember,
    NotApproved,
    NotCaring,
    NothingToAccept,
    NotInformed,
    NotServing,
    Objected,
    OnHold,
    ProtocolError,
    RecordsMoved,
    RetentionRuns,
    RoleRefused,
    StepMissing,
    Suspended,
    UnknownDossier,
    UnknownInformation,
    UnknownModel,
)
from guarantee.repeats import RequestConflict
from guarantee.signature import SignatureRefused
from guarantee.signing_keys import SignatureNeeded
from guarantee.store import StillReadable, StoreUnavailable
from guarantee.vault import KeyAltered, KeyUnavailable
from guarantee.wording import in_words
from models.bundle import DigestMismatch, MalformedBundle
from models.contract import InvalidFeature, NoKnownFeature
from models.errors import ModelsError
from models.explanation import InexactExplanation
from models.shelf import NotOnTheShelf
from serving.auth import Forbidden, Unauthenticated
from serving.errors import ServingError
from serving.oidc import IssuerUnreachable
from serving.received import RepeatedField

MEDIA_TYPE: Final = "application/problem+json"


class UnacceptedField(ServingError):
    """One field cannot be taken, which only the log or the card could tell.

    Attributes:
        field: Its path in the body, with dots.
        problem: What is wrong with it and what to send instead.
    """

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}")


class FieldProblem(BaseModel):
    """One field at fault."""

    field: str = Field(examples=["patient.key"])
    detail: str = Field(examples=["the key does not match the matricule"])


class Problem(BaseModel):
    """A refusal. Source: RFC 9457."""

    type: str = Field(examples=["urn:garant:problem:not-informed"])
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None
    payload: str | None = Field(
        default=None,
        description="What to sign with your own key, byte for byte, before you ask again",
    )


# The one table: what each error is over HTTP. An error takes its nearest ancestor's row; one
# without a row is a failure of the service itself.
_TABLE: Final[dict[type[Exception], tuple[HTTPStatus, str]]] = {
    Unauthenticated: (HTTPStatus.UNAUTHORIZED, "Send a valid token"),
    IssuerUnreachable: (HTTPStatus.SERVICE_UNAVAILABLE, "No token can be checked"),
    Forbidden: (HTTPStatus.FORBIDDEN, "Not for this role"),
    NotCaring: (HTTPStatus.FORBIDDEN, "Not among those who care for the patient"),
    NotEntitled: (HTTPStatus.FORBIDDEN, "The dossier is not for this reader"),
    PurposeMissing: (HTTPStatus.UNPROCESSABLE_ENTITY, "A purpose is needed"),
    RetentionRuns: (HTTPStatus.CONFLICT, "The law has the records kept"),
    ImplausibleDeath: (HTTPStatus.UNPROCESSABLE_ENTITY, "Nobody died on that day"),
    OnHold: (HTTPStatus.CONFLICT, "A legal hold keeps the records"),
    IdentityTaken: (HTTPStatus.CONFLICT, "The INS is another patient's"),
    RecordsMoved: (HTTPStatus.CONFLICT, "More was recorded in the meantime"),
    IdentityMoved: (HTTPStatus.CONFLICT, "Rectified in the meantime"),
    KeyUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "The vault is closed"),
    StillReadable: (HTTPStatus.SERVICE_UNAVAILABLE, "Erased, but not from the files yet"),
    RoleRefused: (HTTPStatus.FORBIDDEN, "Not for this role"),
    NotAMember: (HTTPStatus.FORBIDDEN, "Not a member of the college"),
    UnknownModel: (HTTPStatus.NOT_FOUND, "No such model"),
    UnknownDossier: (HTTPStatus.NOT_FOUND, "No such inference"),
    UnknownInformation: (HTTPStatus.NOT_FOUND, "No such information of a patient"),
    UnknownRecord: (HTTPStatus.NOT_FOUND, "No such record"),
    UnknownPerson: (HTTPStatus.NOT_FOUND, "Nobody by that pseudonym"),
    NotInformed: (HTTPStatus.CONFLICT, "The patient must be informed first"),
    Objected: (HTTPStatus.CONFLICT, "The patient objected"),
    StepMissing: (HTTPStatus.CONFLICT, "An earlier step is missing"),
    NothingToAccept: (HTTPStatus.CONFLICT, "The model abstained"),
    AlreadyDone: (HTTPStatus.CONFLICT, "Done before"),
    NotApproved: (HTTPStatus.CONFLICT, "Not approved by the college"),
    IdentityMismatch: (HTTPStatus.CONFLICT, "The INS is known under other traits"),
    ProtocolError: (HTTPStatus.CONFLICT, "Out of order"),
    Erased: (HTTPStatus.GONE, "The patient's records were erased"),
    SignatureNeeded: (HTTPStatus.UNPROCESSABLE_ENTITY, "Sign this with your own key"),
    BodyRefused: (HTTPStatus.UNPROCESSABLE_ENTITY, "A field cannot be taken"),
    SignatureRefused: (HTTPStatus.UNPROCESSABLE_ENTITY, "The signature does not hold"),
    SampleRefused: (HTTPStatus.UNPROCESSABLE_ENTITY, "Not what the announcement leads to"),
    BodyMissing: (HTTPStatus.GONE, "The vault no longer holds it"),
    InvalidFeature: (HTTPStatus.UNPROCESSABLE_ENTITY, "A feature cannot be taken"),
    NoKnownFeature: (HTTPStatus.UNPROCESSABLE_ENTITY, "No feature is given"),
    InvalidDecision: (HTTPStatus.UNPROCESSABLE_ENTITY, "The decision cannot stand so"),
    UnacceptedField: (HTTPStatus.UNPROCESSABLE_ENTITY, "A field cannot be taken"),
    RequestConflict: (HTTPStatus.UNPROCESSABLE_ENTITY, "Idempotency key used before"),
    Suspended: (HTTPStatus.SERVICE_UNAVAILABLE, "The model is suspended"),
    NotServing: (HTTPStatus.SERVICE_UNAVAILABLE, "No version answers"),
    NotOnTheShelf: (HTTPStatus.SERVICE_UNAVAILABLE, "The version is not laid out here"),
    DigestMismatch: (HTTPStatus.SERVICE_UNAVAILABLE, "The version was altered"),
    MalformedBundle: (HTTPStatus.SERVICE_UNAVAILABLE, "The version was altered"),
    InexactExplanation: (HTTPStatus.SERVICE_UNAVAILABLE, "No exact explanation, so no answer"),
    LedgerUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "The ledger cannot write"),
    LedgerClosed: (HTTPStatus.SERVICE_UNAVAILABLE, "The service is stopping"),
    StoreUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "The ledger cannot be read"),
    KeyAltered: (HTTPStatus.INTERNAL_SERVER_ERROR, "The patient's key was altered"),
}
# The one field that each can be about.
_FIELD: Final[dict[type[Exception], str]] = {
    IdentityMismatch: "patient",
    IdentityTaken: "patient",
    ImplausibleDeath: "died",
    NoKnownFeature: "features",
    PurposeMissing: "purpose",
    RequestConflict: "Idempotency-Key",
    UnknownInformation: "information_id",
}
# Their own words would name files of this machine; the caller cannot act on those.
_REMEDY: Final[dict[type[Exception], str]] = {
    NotOnTheShelf: "the version is not laid out in this home; promote it again",
    DigestMismatch: "the version's files are not those registered; suspend the model",
    MalformedBundle: "the version's files do not make a version; suspend the model",
    InexactExplanation: "contributions do not add up to the answer; suspend the version",
    LedgerUnavailable: "the outcome is unknown; retry with the same Idempotency-Key",
    IssuerUnreachable: "the issuer of tokens cannot be reached; nothing was recorded: retry",
    LedgerClosed: "nothing was recorded; retry",
    KeyUnavailable: "the master key at hand does not open it; tell whoever operates the service",
    StillReadable: "recorded, and the key is gone; retry with the same Idempotency-Key",
    StoreUnavailable: "nothing was answered; retry",
    KeyAltered: "nothing was recorded, and retrying does not help; tell whoever operates the "
    "service to verify the log",
}
_WORDS: Final[dict[int, str]] = {
    400: "the body is not JSON; send one JSON object in UTF-8",
    404: "there is no such address; /docs.json lists those that are",
    405: "the address does not take this method; /docs.json lists those that it takes",
    413: "the body is too large; send at most 4 MiB",
    415: "send the body as application/json",
}


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""
    for base in (GuaranteeError, ModelsError, ServingError):
        app.add_exception_handler(base, _refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(RepeatedField)(_repeated)
    app.exception_handler(HTTPException)(_plain)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    status: HTTPStatus,
    title: str,
    detail: str,
    *,
    kind: str | None = None,
    errors: Sequence[FieldProblem] = (),
    payload: str | None = None,
) -> JSONResponse:
    """One problem as a response; `kind` is the last word of its type."""
    body = Problem(
        type=f"urn:garant:problem:{kind}" if kind else "about:blank",
        title=title,
        status=status,
        detail=detail,
        errors=list(errors) or None,
        payload=payload,
    )
    headers = {"Cache-Control": "no-store"}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="garant"'
    return JSONResponse(
        body.model_dump(exclude_none=True), status, media_type=MEDIA_TYPE, headers=headers
    )


def too_large() -> JSONResponse:
    """What a caller is told of a body that is not even read."""
    return _http(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def unexpected() -> JSONResponse:
    """What a caller is told where the service itself fails."""
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The service failed",
        "nothing more can be said here; retry with the same Idempotency-Key, "
        "and tell whoever operates the service",
    )


async def _refused(_: Request, error: Exception) -> JSONResponse:
    kind = next((kind for kind in type(error).__mro__ if kind in _TABLE), None)
    if kind is None:
        raise error
    status, title = _TABLE[kind]
    fields = []
    if isinstance(error, InvalidFeature):
        fields = [FieldProblem(field=f"features.{error.name}", detail=error.problem)]
    elif isinstance(error, UnacceptedField):
        fields = [FieldProblem(field=error.field, detail=error.problem)]
    elif isinstance(error, InvalidDecision):
        fields = [FieldProblem(field=error.field, detail=str(error).partition(": ")[2])]
    elif named := [_FIELD[one] for one in type(error).__mro__ if one in _FIELD]:
        fields = [FieldProblem(field=named[0], detail=str(error))]
    detail = next((words for kind, words in _REMEDY.items() if isinstance(error, kind)), str(error))
    payload = error.payload if isinstance(error, SignatureNeeded) else None
    kind_word = _slug(type(error))
    return problem(status, title, detail, kind=kind_word, errors=fields, payload=payload)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return _http(HTTPStatus.BAD_REQUEST)
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    sent = request.headers.get("content-length", "0") != "0"
    if sent and media != "application/json" and any(one["loc"] == ("body",) for one in found):
        return _http(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    errors = [
        FieldProblem(
            field=_path(one["loc"]), detail=in_words(one["type"], one["msg"], one.get("ctx", {}))
        )
        for one in found[:20]
    ]
    return _fields(errors)


async def _repeated(_: Request, error: RepeatedField) -> JSONResponse:
    field = _path(("body", *error.location))
    return _fields([FieldProblem(field=field, detail="is sent twice; send it once")])


def _fields(errors: Sequence[FieldProblem]) -> JSONResponse:
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Fields cannot be taken",
        "; ".join(f"{one.field}: {one.detail}" for one in errors),
        kind="invalid-fields",
        errors=errors,
    )


async def _plain(_: Request, error: HTTPException) -> JSONResponse:
    response = _http(HTTPStatus(error.status_code))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return unexpected()


def _http(status: HTTPStatus) -> JSONResponse:
    return problem(status, status.phrase, _WORDS.get(status, status.description or status.phrase))


def _path(location: Sequence[str | int]) -> str:
    parts = location[1:] if location[:1] == ("body",) and len(location) > 1 else location
    return ".".join(_printable(str(part)) for part in parts)


def _printable(name: str) -> str:
    # A field that nobody knows is named by whoever sent it.
    shown = "".join(sign if sign.isprintable() else "?" for sign in name[:80])
    return shown if len(name) <= 80 else f"{shown}…"


def _slug(error: type[Exception]) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in error.__name__).lstrip("-")
