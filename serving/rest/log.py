"""Calls about the log itself: its signed head, its records, and the proof that it only grew."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from serving.messages.log import ConsistencyGiven, RecordGiven, RecordsGiven
from serving.messages.parts import MOST
from serving.rest.frame import ANYONE, REFUSALS, TheHouse

router = APIRouter(prefix="/v1/ledger", tags=["ledger"], responses=REFUSALS)


@router.get("/checkpoint", response_class=PlainTextResponse)
def show_checkpoint(house: TheHouse) -> PlainTextResponse:
    """The signed head, as a C2SP tlog-checkpoint; no token is needed."""
    return PlainTextResponse(house.ledger.checkpoint())


@router.get("/records", response_model_exclude_none=True, dependencies=ANYONE)
def show_records(
    house: TheHouse,
    start: Annotated[int, Query(ge=0, le=MOST, description="Zero-based")] = 0,
    count: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RecordsGiven:
    """Headers, in the log's order; they hold nothing clinical or personal."""
    return RecordsGiven(
        size=house.ledger.head().size,
        records=tuple(
            RecordGiven(index=one.index, header=one.header)
            for one in house.ledger.page(start, count)
        ),
    )


@router.get("/consistency")
def show_consistency(
    house: TheHouse,
    old_size: Annotated[int, Query(alias="from", ge=0, le=MOST, description="An earlier size")],
) -> ConsistencyGiven:
    """Proof that the log only grew since it had that size; no token is needed."""
    path, checkpoint = house.ledger.consistency(old_size)
    return ConsistencyGiven(path=tuple(one.hex() for one in path), checkpoint=checkpoint)
