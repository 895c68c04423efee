"""Calls that tell why an inference was answered as it was."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Response

from guarantee.card import Language
from models import waterfall
from models.account import Account
from serving.account import account_of, map_of, told
from serving.messages.accounts import AccountGiven
from serving.received import ReceivedRoute
from serving.rest.frame import REFUSALS, InferenceId, Reader, Reading

router = APIRouter(
    prefix="/v1/inferences", tags=["inferences"], responses=REFUSALS, route_class=ReceivedRoute
)

_SVG: Final = "image/svg+xml"
_DRAWN: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The explanation", "content": {_SVG: {"schema": {"type": "string"}}}}
}

_MAPPED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The map", "content": {_SVG: {"schema": {"type": "string"}}}}
}


class Wanted:
    """What is to be explained, in which language."""

    def __init__(
        self,
        lang: Annotated[Language, Query(description="Of the sentences")] = Language.FRENCH,
        label: Annotated[
            str | None,
            Query(max_length=200, description="The label to explain; the answer's by default"),
        ] = None,
        rather_than: Annotated[
            str | None, Query(max_length=200, description="Another label, to contrast it with")
        ] = None,
    ) -> None:
        self._lang = lang
        self._label = label
        self._other = rather_than

    def of(self, by: Reader, inference_id: str) -> Account:
        """The account of that inference, whose reading is on record where it has to be."""
        return account_of(
            by.house,
            by.dossier(inference_id),
            label=self._label,
            rather_than=self._other,
            language=self._lang,
        )


Asked = Annotated[Wanted, Depends()]


@router.get("/{inference_id}/explanation", response_model=AccountGiven, responses=_DRAWN)
def explain(
    by: Reading,
    inference_id: InferenceId,
    wanted: Asked,
    response: Response,
    accept: Annotated[str, Header(description=f"{_SVG} for the picture")] = "application/json",
) -> AccountGiven | Response:
    """Why, in sentences: what speaks for and against a label, or for it rather than another.

    For those who may read the dossier, as they may; withheld as long as the answer is.
    """
    account = wanted.of(by, inference_id)
    if _SVG in accept:
        return _drawn(account)
    response.headers["Vary"] = "Accept"
    return told(inference_id, account)


@router.get("/{inference_id}/explanation.svg", response_class=Response, responses=_DRAWN)
def draw_explanation(by: Reading, inference_id: InferenceId, wanted: Asked) -> Response:
    """The same as a picture, a waterfall that a screen reader reads."""
    return _drawn(wanted.of(by, inference_id))


@router.get("/{inference_id}/map.svg", response_class=Response, responses=_MAPPED)
def draw_map(by: Reading, inference_id: InferenceId) -> Response:
    """Where the answer lies between the labels, among cases that the version was judged on.

    Of those cases it shows the label and two rounded coordinates. Read as the explanation is.
    """
    return _picture(map_of(by.house, by.dossier(inference_id)))


def _drawn(account: Account) -> Response:
    return _picture(waterfall.draw(account))


def _picture(svg: str) -> Response:
    return Response(
        svg,
        media_type=_SVG,
        # Opened by itself it is a document: nothing in it may run or load.
        headers={"Content-Security-Policy": "default-src 'none'", "Vary": "Accept"},
    )
