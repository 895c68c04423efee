"""The master key, rotated: every key in the vault wrapped anew while the service runs."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from guarantee.appending import Draft
from guarantee.bodies import KeyRotated
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import Header, RecordType
from guarantee.refusals import RecordsMoved
from guarantee.store import KEYS
from guarantee.vault import MasterKey

_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A rotation of the master key, done and on record.

    Attributes:
        fingerprint: Of the master key that opens the vault from here on.
        keys: How many keys were wrapped anew.
    """

    recorded: Recorded
    fingerprint: str
    keys: int


def rotate_master_key(ledger: Ledger, actor: Actor) -> Rotation:
    """Wrap every key anew under another master key, and blind anew what people are found by.

    1. The new key is at hand durably, beside the old one.
    2. All that the old one wraps opens: a rotation hides no alteration.
    3. One transaction records the rotation and wraps. It is the moment that counts: whichever
       of the two keys opens the vault is the master key, after a stop at any moment.
    4. The new key takes the old one's place, which is overwritten.

    Other processes notice by themselves. Idempotency keys stay good: see
    `Pseudonyms.blind_request`. Bodies are not encrypted anew, so whoever held the old master key
    and a copy of the database keeps what that copy says.

    Raises:
        RoleRefused: The actor does not operate the house.
        KeyUnavailable: There is no other key, and none can be made here.
        CannotOpen: A key or an identity was altered; verify the log, restore it.
        MasterKeyMoved: Somebody else rotated it in the meantime.
        LedgerUnavailable: Outcome unknown; nothing is lost, the right key is found.
    """
    people = ledger.people
    for _ in range(_ATTEMPTS):
        # 1.
        old = people.master
        new = people.successor()
        # 2.
        keys = people.check_keys()

        def act(
            connection: Connection,
            _: Header,
            *,
            old: MasterKey = old,
            new: MasterKey = new,
            keys: int = keys,
        ) -> None:
            if connection.scalar(select(func.count()).select_from(KEYS)) != keys:
                raise RecordsMoved("somebody was met for the first time in the meantime")
            people.rotate(connection, old=old, new=new)

        draft = Draft(
            type=RecordType.KEY_ROTATED,
            actor=actor,
            outcome="rotated",
            body=KeyRotated(old=old.fingerprint, new=new.fingerprint, keys=keys),
            act=act,
        )
        # 3.
        try:
            recorded = ledger.record(draft)
        except RecordsMoved:
            continue
        # 4.
        people.settle()
        return Rotation(recorded=recorded, fingerprint=new.fingerprint, keys=keys)
    raise RecordsMoved("people are met for the first time all the time: ask again")
