"""The log's tiles over HTTP, for whoever mirrors or audits it: c2sp.org/tlog-tiles.

Anonymous, as headers carry nothing clinical or personal. The prefix is `/v1/ledger`, where the
checkpoint stands, too.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from fastapi.responses import Response

from guarantee import published
from serving.problems import MEDIA_TYPE, Problem
from serving.rest.frame import TheHouse

_OCTETS: Final = "application/octet-stream"
# A tile never changes; a partial one is only ever followed by a longer one of another address.
_FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {_OCTETS: {}}, "description": "The bytes"},
    404: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": "Beyond the log's head"},
}

Place = Annotated[
    str,
    Path(
        description="The tile's index in groups of three digits, all but the last behind an x; "
        "`.p/` and its width where it is partial",
        examples=["x001/234", "007.p/12"],
    ),
]

router = APIRouter(
    prefix="/v1/ledger/tile", tags=["ledger"], responses=_ANSWERS, default_response_class=Response
)


@router.get("/entries/{place:path}")
def show_entries(house: TheHouse, place: Place) -> Response:
    """Up to 256 headers, each behind its length in two bytes; no token is needed."""
    return _bytes(published.entry_bundle(house.ledger, *published.parse_place(place)))


@router.get("/{level}/{place:path}")
def show_tile(
    house: TheHouse, level: Annotated[int, Path(ge=0, le=published.HIGHEST_LEVEL)], place: Place
) -> Response:
    """Up to 256 hashes of one level of the tree; no token is needed."""
    return _bytes(published.tile(house.ledger, level, *published.parse_place(place)))


def _bytes(content: bytes) -> Response:
    return Response(content, media_type=_OCTETS, headers=_FOR_EVER)
