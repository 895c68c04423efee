"""Calls about models: their cards, contracts and leaflets, and stopping them."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter

from guarantee import versions
from guarantee.card import Language
from guarantee.identity import Role
from guarantee.leaflet import leaflet, leaflet_digest
from guarantee.refusals import NotServing
from guarantee.versions import ModelStanding, RegisteredVersion
from serving.messages.models import (
    ContractGiven,
    LeafletGiven,
    ModelGiven,
    ModelSummary,
    Resumption,
    Stop,
    VersionGiven,
)
from serving.messages.parts import StepRecorded
from serving.received import ReceivedRoute
from serving.rest.frame import (
    ANYONE,
    CREATED,
    REFUSALS,
    Acting,
    ActingMember,
    Name,
    TheHouse,
    acting,
)
from serving.shown import instant

router = APIRouter(
    prefix="/v1/models", tags=["models"], responses=REFUSALS, route_class=ReceivedRoute
)


@router.get("", dependencies=ANYONE)
def list_models(house: TheHouse) -> list[ModelSummary]:
    """Every model that the log knows."""
    return [
        _summary(versions.standing(house.ledger, name))
        for name in versions.model_names(house.ledger)
    ]


@router.get("/{name}", dependencies=ANYONE)
def show_model(house: TheHouse, name: Name) -> ModelGiven:
    """A model, its versions and their cards."""
    summary = _summary(versions.standing(house.ledger, name))
    return ModelGiven(
        **dict(summary),
        versions=tuple(_version(one) for one in versions.versions_of(house.ledger, name)),
    )


@router.get("/{name}/leaflet", dependencies=ANYONE)
def show_leaflet(house: TheHouse, name: Name, lang: Language = Language.FRENCH) -> LeafletGiven:
    """What a patient is given to read before the model is used."""
    serving = versions.standing(house.ledger, name).serving
    if serving is None:
        raise NotServing("no version of this model is promoted, so there is no leaflet yet")
    return LeafletGiven(
        model=name,
        version=serving.version,
        language=lang,
        text=leaflet(serving.card, lang),
        sha256=leaflet_digest(serving.card, lang),
    )


@router.get("/{name}/contract", response_model_exclude_defaults=True, dependencies=ANYONE)
def show_contract(house: TheHouse, name: Name) -> ContractGiven:
    """The features that the model takes: names, units, ranges and codes; those that it needs."""
    serving = versions.standing(house.ledger, name).serving
    if serving is None:
        raise NotServing("no version of this model is promoted, so there is no contract yet")
    contract = house.versions.get(serving).contract
    return ContractGiven(
        model=name,
        version=serving.version,
        least_features=contract.least(serving.card.least_known_share),
        features=contract.features,
    )


@router.post("/{name}/suspension", status_code=CREATED)
def suspend(
    by: Annotated[Acting, acting(Role.CLINICIAN, Role.COLLEGE, Role.MONITOR)],
    name: Name,
    stop: Stop,
) -> StepRecorded:
    """Stop a model now: no inference follows in the log."""
    return by.step(partial(versions.suspend, name=name, reason=stop.reason))


@router.delete("/{name}/suspension")
def resume(by: ActingMember, name: Name, resumption: Resumption) -> StepRecorded:
    """Let a suspended model answer again; the college says why."""
    return by.step(
        partial(
            versions.resume,
            name=name,
            reason=resumption.reason,
            signature=resumption.signature,
        )
    )


def _summary(standing: ModelStanding) -> ModelSummary:
    serving = standing.serving
    return ModelSummary(
        name=standing.name,
        title=serving.card.title if serving else None,
        standing=standing.step,
        version=serving.version if serving else None,
        suspension=standing.suspension,
    )


def _version(registered: RegisteredVersion) -> VersionGiven:
    return VersionGiven(
        version=registered.version,
        digest=registered.digest,
        verdict=registered.verdict,
        missing_votes=registered.missing,
        registered=instant(registered.registered_at),
        card=registered.card,
    )
