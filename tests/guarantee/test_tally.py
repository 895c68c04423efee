"""What the log counts, on either database."""

from guarantee import erasure, tally
from guarantee.abstention import Abstention
from guarantee.bodies import Decision, ErasureGround
from guarantee.card import Mode
from guarantee.identity import Role
from guarantee.informing import check_informed
from guarantee.kept import keep_checkpoint
from guarantee.ledger import Ledger
from guarantee.records import RecordType
from guarantee.tally import Counted, Tally, Waiting
from tests.guarantee.clinic import CARD, Clinic

HOUR = 3_600_000


def _counted(tally: Tally, ledger: Ledger) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for one, count in tally.counts(ledger).items():
        assert (one.model, one.version) == (CARD.name, "1")
        found[one.type.value, one.outcome] = count
    return found


def test_answers_and_decisions_are_counted_by_outcome_as_the_log_grows_and_anew_alike(
    clinic: Clinic,
) -> None:
    kept = Tally()
    assert kept.counts(clinic.ledger) == {}
    shown, abstained = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    clinic.infer(clinic.inform(3), mode=Mode.WITHHELD)
    assert _counted(kept, clinic.ledger) == {
        ("InferenceMade", "answered"): 2,
        ("InferenceMade", "withheld"): 1,
    }
    clinic.decide(shown, Decision.OVERRIDDEN, label="LUNG", reason="histology")
    clinic.decide(abstained, Decision.DISREGARDED)
    clinic.infer(clinic.inform(4), abstention=Abstention.OUT_OF_DISTRIBUTION)
    counts = {
        ("InferenceMade", "answered"): 2,
        ("InferenceMade", "withheld"): 1,
        ("InferenceMade", "abstained"): 1,
        ("DecisionSigned", "overridden"): 1,
        ("DecisionSigned", "disregarded"): 1,
    }
    assert _counted(kept, clinic.ledger) == counts
    assert _counted(Tally(), clinic.ledger) == counts
    one = Counted(RecordType.INFERENCE_MADE, CARD.name, "1", "answered")
    assert kept.counts(clinic.ledger)[one] == 2


def test_what_waits_is_undecided_and_of_nobody_who_was_erased(clinic: Clinic) -> None:
    now = clinic.ledger.now()
    lapses = {CARD.name: 72 * HOUR}
    assert tally.waiting(clinic.ledger, lapses, at=now) == {}
    told = [clinic.inform(number) for number in (1, 2, 3)]
    asked = [clinic.infer(one).id for one in told]
    clinic.infer(told[1], mode=Mode.WITHHELD)
    assert tally.waiting(clinic.ledger, lapses, at=now) == {
        CARD.name: Waiting(answers=4, overdue=0)
    }
    clinic.decide(asked[0])
    erasure.erase(
        clinic.ledger,
        clinic.actor("dpo", Role.DPO),
        pseudonym=check_informed(clinic.ledger, told[2], CARD.name, at=now),
        ground=ErasureGround.COURT_ORDER,
    )
    for later, overdue in ((71, 0), (73, 2)):
        assert tally.waiting(clinic.ledger, lapses, at=now + later * HOUR) == {
            CARD.name: Waiting(answers=2, overdue=overdue)
        }
    # Of a model that is not promoted no card says how long it may wait.
    assert tally.waiting(clinic.ledger, {}, at=now + 73 * HOUR) == {
        CARD.name: Waiting(answers=2, overdue=0)
    }


def test_how_far_the_log_is_signed_and_vouched_for(clinic: Clinic) -> None:
    clinic.ledger.settle()
    size = clinic.ledger.head().size
    own, kept = tally.signed(clinic.ledger)
    assert (own.size, kept.size, kept.at) == (size, 0, None)
    assert own.at == clinic.ledger.page(size - 1, 1)[0].header.time
    keep_checkpoint(clinic.ledger, clinic.ledger.checkpoint())
    clinic.inform(1)
    own, kept = tally.signed(clinic.ledger)
    assert kept.size == size
    assert kept.at == clinic.ledger.page(size - 1, 1)[0].header.time
