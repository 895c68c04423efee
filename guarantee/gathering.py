"""Records that concern every information of a patient, however many there are.

A header follows `protocol.MOST_FOLLOWED` records at most, so that its length fits into the two
bytes that c2sp.org/tlog-tiles gives it. Where a patient was informed more often, informations are
gathered first: one `InformationsGathered` stands for as many as it follows, now and later.
"""

from collections.abc import Sequence

from guarantee.appending import Draft
from guarantee.bodies import InformationsGathered
from guarantee.ledger import Ledger
from guarantee.protocol import MOST_FOLLOWED
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.situations import Gathered, Gathering


def followed_by(ledger: Ledger, actor: Actor, informations: Sequence[str]) -> tuple[str, ...]:
    """What a record follows that concerns all of these informations, which are one patient's.

    A stop after some were gathered loses nothing: what is gathered stays so.

    Raises:
        Erased: The patient's records were erased in the meantime.
        RoleRefused: The actor's role records nothing of that kind.
    """
    if len(informations) <= MOST_FOLLOWED:
        return tuple(informations)
    left = dict.fromkeys(informations)
    gatherings = []
    for key, gathering in ledger.situations(Gathering, [Gathered.GATHERED]):
        if left.keys() >= set(gathering.informations):
            gatherings.append(key)
            for one in gathering.informations:
                del left[one]
    while len(gatherings) + len(left) > MOST_FOLLOWED:
        some = tuple(left)[:MOST_FOLLOWED]
        draft = Draft(
            type=RecordType.INFORMATIONS_GATHERED,
            actor=actor,
            outcome=Gathered.GATHERED,
            body=InformationsGathered(),
            follows=some,
        )
        gatherings.append(ledger.record(draft).id)
        for one in some:
            del left[one]
    return (*gatherings, *left)
