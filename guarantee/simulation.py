"""What if: the version that answered, on the same input with some features changed.

A simulation, never an inference: it opens no dossier and counts nowhere as an answer. It is a use
of the model on that patient all the same, so it stands behind the gate that answers stand behind.
"""

from sqlalchemy import Connection

from guarantee.appending import Draft, Request
from guarantee.bodies import InferenceMade, WhatIfMade
from guarantee.dossier import check_none_withheld
from guarantee.informing import check_informed
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.opened import DossierView
from guarantee.pseudonyms import Actor
from guarantee.records import Header, RecordType
from guarantee.refusals import StepMissing
from guarantee.versions import standing


def check_simulable(ledger: Ledger, view: DossierView) -> InferenceMade:
    """Check the gate before computing anything; the log checks it again when it records.

    Returns:
        The inference whose input may be changed.

    Raises:
        StepMissing: The answer is withheld.
        AnswerWithheld: Another answer on this patient is: a simulation could tell it.
        NotInformed, Objected: The patient's gate has closed.
        Suspended: The model was stopped.
    """
    if view.inference is None:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    patient = check_informed(ledger, view.information, view.model, at=ledger.now())
    with ledger.store.reading() as connection:
        check_none_withheld(connection, patient, view.model)
    standing(ledger, view.model).check_serving()
    return view.inference


def record_what_if(
    ledger: Ledger,
    actor: Actor,
    *,
    view: DossierView,
    what_if: WhatIfMade,
    request: Request | None = None,
) -> Recorded:
    """Record a simulation before it leaves; it moves no step of the dossier.

    Raises:
        Erased: The patient's records were erased in the meantime.
        NotInformed, Objected, Suspended, AnswerWithheld: As `check_simulable`, in the meantime.
    """
    patient = check_informed(ledger, view.information, view.model, at=ledger.now())

    def act(connection: Connection, _: Header) -> None:
        check_none_withheld(connection, patient, view.model)

    return ledger.record(
        Draft(
            type=RecordType.WHAT_IF_MADE,
            actor=actor,
            outcome="simulated",
            body=what_if,
            sealed_for=patient,
            dossier=view.id,
            follows=(view.id,),
            model=view.model,
            model_version=view.model_version,
            act=act,
        ),
        request,
    )
