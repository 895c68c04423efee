"""What the calls share: the house, who calls, and a request that records once."""

from functools import cached_property
from typing import Annotated, Any, Final, Protocol

from fastapi import Depends, Header, Path, Query, Request, params, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from guarantee import appending
from guarantee.access import read_dossier
from guarantee.bodies import Purpose
from guarantee.card import ModelName
from guarantee.identity import Caller, Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.opened import DossierView
from guarantee.pseudonyms import Actor
from serving.auth import Unauthenticated, require
from serving.house import House
from serving.messages.parts import RecordId, StepRecorded
from serving.problems import MEDIA_TYPE, Problem
from serving.received import ReceivedRequest

_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="One person in one role: a token of the issuer that is configured, or from "
    "`garant token --role ROLE`.",
)


def _house(request: Request) -> House:
    house = request.app.state.house
    if not isinstance(house, House):
        raise TypeError("the application was made without a house")
    return house


TheHouse = Annotated[House, Depends(_house)]


def _caller(
    house: TheHouse, sent: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    if sent is None:
        raise Unauthenticated("there is no token; send it as Authorization: Bearer")
    return house.issuer.verify_token(sent.credentials)


def only(*roles: Role) -> params.Depends:
    """That the call is for these roles alone; gives the caller."""

    def entitled(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        require(caller, *roles)
        return caller

    return params.Depends(entitled)


class Record(Protocol):
    """A function that records one act, given all that the act is about."""

    def __call__(
        self, ledger: Ledger, actor: Actor, /, *, request: appending.Request | None
    ) -> Recorded:
        """Append the act's record, or find the one that the same request appended before."""


class Acting:
    """Somebody who records: the house, who they are, and the request that they do it with."""

    def __init__(
        self, house: House, caller: Caller, *, route: str, key: str | None, content: bytes
    ) -> None:
        self.house = house
        self.caller = caller
        self._route = route
        self._key = key
        self._content = content

    @property
    def ledger(self) -> Ledger:
        """The log that they record in."""
        return self.house.ledger

    @cached_property
    def actor(self) -> Actor:
        """Who they are on record, from the first act that can be taken."""
        return self.ledger.people.actor(self.caller)

    @property
    def request(self) -> appending.Request | None:
        """The request as the log remembers it, if it has an idempotency key."""
        if self._key is None:
            return None
        return appending.Request(
            actor=self.actor.pseudonym, route=self._route, key=self._key, content=self._content
        )

    def once(self, record: Record) -> Recorded:
        """What the first try under the key recorded, whatever has changed since, or `record` now.

        Raises:
            RequestConflict: The key was used for another body.
        """
        request = self.request
        if request is not None and (first := self.ledger.repeated(request)) is not None:
            return first
        return record(self.ledger, self.actor, request=request)

    def step(self, record: Record) -> StepRecorded:
        """As `once`, told as one more record; errors as for `once`."""
        recorded = self.once(record)
        return StepRecorded(record_id=recorded.id, index=recorded.index)


def acting(*roles: Role) -> params.Depends:
    """That the call records, and is for these roles alone."""

    async def recording(
        request: Request,
        house: TheHouse,
        caller: Annotated[Caller, only(*roles)],
        key: Annotated[
            str | None,
            Header(
                alias="Idempotency-Key",
                min_length=1,
                max_length=255,
                description="Made by the caller, new for each act: a retry records once",
            ),
        ] = None,
    ) -> Acting:
        if not isinstance(request, ReceivedRequest):
            raise TypeError("a route that records is a ReceivedRoute")
        content = await request.canonical() if key is not None else b""
        route = f"{request.method} {request.url.path}"
        return Acting(house, caller, route=route, key=key, content=content)

    return params.Depends(recording)


ActingClinician = Annotated[Acting, acting(Role.CLINICIAN)]
ActingMember = Annotated[Acting, acting(Role.COLLEGE)]
ActingOfficer = Annotated[Acting, acting(Role.DPO)]

# Of calls that only read, it matters that the caller may; of those that record, who it is.
ANYONE: Final = [params.Depends(_caller)]
ENTITLED: Final = [only(Role.CLINICIAN, Role.COLLEGE, Role.DPO)]

Name = Annotated[ModelName, Path(description="The model's name", examples=["tumour-origin"])]
InferenceId = Annotated[RecordId, Path(description="The inference's id")]


class Reader:
    """Somebody who reads dossiers, and why, where they do not care for the patient."""

    def __init__(
        self,
        house: TheHouse,
        caller: Annotated[Caller, *ENTITLED],
        purpose: Annotated[
            Purpose | None,
            Query(
                description="Of the college: review, audit; "
                "of the dpo: also patient_request, litigation"
            ),
        ] = None,
    ) -> None:
        self.house = house
        self._caller = caller
        self._purpose = purpose

    def dossier(self, inference_id: str) -> DossierView:
        """A dossier that they may read; that they did is on record first, where it has to be.

        Raises:
            NotEntitled, PurposeMissing, UnknownDossier, Erased: As `read_dossier` says.
        """
        actor = self.house.ledger.people.actor(self._caller)
        return read_dossier(self.house.ledger, actor, dossier=inference_id, purpose=self._purpose)


Reading = Annotated[Reader, Depends()]

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": words}
    for code, words in {
        401: "No valid token",
        403: "Not for this role",
        404: "No such thing",
        409: "Out of order: the detail names the step that is missing",
        410: "The patient's records were erased",
        422: "A field cannot be taken: the detail names it, never its value",
        503: "Suspended, or the ledger cannot write",
    }.items()
}
CREATED: Final = status.HTTP_201_CREATED
