"""Time for review that is up: an answer that nobody decided on is recorded as lapsed.

A lapse shows nothing of the answer and closes nothing: what is withheld stays so until its first
read, and a later decision is still possible. A simulation waits for no decision, and never lapses.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from guarantee.appending import Draft
from guarantee.bodies import ReviewLapsed
from guarantee.card import Card
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.opened import patient_of, waiting
from guarantee.pseudonyms import Actor
from guarantee.records import Header, RecordType, first_id
from guarantee.refusals import AlreadyDone, Erased, ProtocolError, StepMissing, UnknownModel
from guarantee.situations import Dossier, Model
from guarantee.versions import registered_version

_HOUR_MS: Final = 3_600_000
_AT_ONCE: Final = 100
"""Records of one transaction: answers wait for it, and a lapse can."""


def time_is_up(inference: str, card: Card, *, at: int) -> bool:
    """Whether the card's time to review an answer is over.

    Args:
        inference: Its record's id, which begins with its time.
        at: Milliseconds since 1970, UTC.
    """
    return inference < first_id(at - card.lapse_hours * _HOUR_MS)


def record_lapses(ledger: Ledger, actor: Actor, *, model: str | None = None) -> list[Recorded]:
    """Record every answer whose time for review is up without a decision, each once.

    Several processes may do so at once; whoever decides meanwhile comes first.

    Args:
        model: Its answers alone, by whichever version; none: every model's.

    Raises:
        UnknownModel: No such model.
        RoleRefused: The actor does not watch the models.
        KeyAltered: One patient's key was; later answers wait until it is restored.
        LedgerUnavailable: Outcome unknown; ask again, a lapse is recorded once.
    """
    if model is not None and ledger.get(Model, model) is None:
        raise UnknownModel("no model of that name is registered")
    due, recorded = _due(ledger, actor, model), []
    while some := list(islice(due, _AT_ONCE)):
        for outcome in ledger.record_all(some):
            match outcome:
                case Recorded():
                    recorded.append(outcome)
                case AlreadyDone() | Erased() | StepMissing():
                    continue  # Decided, lapsed or erased meanwhile; or the clock went back.
                case ProtocolError():
                    raise outcome
    return recorded


def _due(ledger: Ledger, actor: Actor, model: str | None) -> Iterator[Draft]:
    cards: dict[tuple[str, str], Card] = {}
    now = ledger.now()
    for key, dossier in waiting(ledger):
        if dossier.lapsed or model not in (None, dossier.model):
            continue
        version = dossier.model, dossier.model_version
        if version not in cards:
            cards[version] = registered_version(ledger, *version).card
        if time_is_up(key, cards[version], at=now):
            try:
                yield _lapse(ledger, actor, key, dossier, cards[version])
            except Erased:
                continue


def _lapse(ledger: Ledger, actor: Actor, key: str, dossier: Dossier, card: Card) -> Draft:
    def act(_: Connection, header: Header) -> None:
        # A clock may step back between looking and recording.
        if not time_is_up(key, card, at=header.time):
            raise StepMissing("the time for review is not up")

    return Draft(
        type=RecordType.REVIEW_LAPSED,
        actor=actor,
        outcome="lapsed",
        body=ReviewLapsed(lapse_hours=card.lapse_hours),
        sealed_for=patient_of(ledger, dossier.information),
        dossier=key,
        follows=(key,),
        model=dossier.model,
        model_version=dossier.model_version,
        act=act,
    )
