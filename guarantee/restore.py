"""A backup becomes the home again: verified first, at once or not at all, as a new log.

Whoever restores cannot know what the old key signed after the backup was taken: at least its own
`BackupTaken`, and whatever a lost disk held. To go on under that key would be to sign two
histories. So every restored log goes on under a new key and a new origin; its first new record,
`LogOpened`, cites the log that it goes on from, and the old key signs nothing any more.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import update

from guarantee import custody, erasure, informing, versions
from guarantee.appending import Draft
from guarantee.backup import Bar, Manifest, no_bar, read_manifest, unpack
from guarantee.bodies import (
    BODY_TYPES,
    HoldPlaced,
    LogOpened,
    ModelSuspended,
    PatientErased,
    PatientObjected,
)
from guarantee.checkpoint import Signer, VerifierKey
from guarantee.errors import GuaranteeError
from guarantee.findings import printable
from guarantee.home import Home
from guarantee.identity import Caller, Role
from guarantee.ledger import Ledger, signer_in
from guarantee.pen import KEPT_FILE
from guarantee.pseudonyms import ACTORS_KEY, Actor, KnownActor, UnknownPerson
from guarantee.records import RecordType
from guarantee.refusals import ProtocolError
from guarantee.replaced import Act, Replaced, known_of, log_there
from guarantee.store import HEAD, SIGNED, Reader, Store
from guarantee.succession import succeeding
from guarantee.transfer import Standing, copy_aside, settle_file, standing
from guarantee.vault import KeyUnavailable, VaultError, decrypt, unseal
from guarantee.verify import verify_home

Identify = Callable[[Home], Caller]
"""Who restores: checks a token against the issuer of a home."""

_HOUSE: Final = "urn:garant:house"
"""The issuer of acts that nobody was asked to answer for."""


class RestoreRefused(GuaranteeError):
    """The backup does not become the home; nothing was changed."""


class BackupExpired(RestoreRefused):
    """The backup should have been deleted; patients erased since may be in it."""


class BackupNotVerified(RestoreRefused):
    """The backup's log does not verify; names what is wrong."""


class WouldLose(RestoreRefused):
    """The home holds a log that the backup does not contain; names what would be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did.

    Attributes:
        origin: The new log's.
        verifier_key: The new log's; whoever verifies needs it beside the old one.
        lost: How many records of each type the replaced log had and the backup has not.
        repeated: How many of each type were appended again, so that the restore undoes no
            erasure, hold, objection or suspension.
        doubted: How many of these were not, since no signed checkpoint proves them.
        copies_expire: The last day on which backups, and what was kept aside, may still exist.
        aside: Where the replaced content is kept; none where the home held nothing.
    """

    manifest: Manifest
    origin: str
    verifier_key: str
    lost: dict[str, int]
    repeated: dict[RecordType, int]
    doubted: dict[str, int]
    copies_expire: date
    aside: Path | None


def restore(
    home: Home,
    file: Path,
    *,
    identify: Identify | None = None,
    force: bool = False,
    reason: str = "restored from a backup",
    bar: Bar = no_bar,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Restored:
    """Make a backup the content of a home; a stop at any moment leaves the old or the new one.

    1. Have the home alone.  2. Lay the backup out inside it, aside.  3. Verify its log.
    4. Compare it with the log that is there.  5. Open a new log that goes on from the backup's.
    6. Repeat what the replaced log knows and a restore must not undo.  7. Switch.

    Args:
        identify: Says who restores; may be left out where the home holds no log, and then
            nobody answers for `LogOpened` but the house itself.
        force: Restore over a log that the backup does not contain, over one that cannot be
            read, or from a backup that has expired.
        reason: Why; anyone may read it in `LogOpened`.

    Raises:
        MalformedBackup: The file is no backup, was cut short or altered.
        BackupExpired: It should have been deleted.
        BackupNotVerified: Its log does not verify.
        WouldLose: The home's log is newer, or another one; see `force`.
        RestoreRefused: Nobody is named to restore over a log; or the keys are missing.
        HomeInUse: Somebody serves from the home, or reads its log.
        CouldNotCheck: Keys for the verification are missing.
        HomeUnavailable: The home cannot be written.
    """
    manifest = read_manifest(file)
    now = clock()
    _check_expiry(manifest, now.date(), force=force)
    # 1.
    with succeeding(home) as succession:
        prepared = succession.prepared
        with log_there(home) as reader:
            if reader is not None and identify is None:
                raise RestoreRefused("who restores over a log answers for it: give a token")
            # 2.
            with bar("unpacking the backup") as progress:
                unpack(file, prepared.path, progress)
            _bring_keys(home, prepared, manifest)
            # 3.
            with bar("verifying the backup") as progress:
                _verify(prepared, manifest, progress)
            # 4.
            there = _compare(home, prepared, reader, today=now.date())
            if not force:
                _check_loss(there)
            # 5.
            caller = _who(home, prepared, identify)
            ended = _ended(prepared, there)
            expire = max([manifest.expires, *there.copies_expire(now.date())])
            key = _new_key(prepared)
            with Ledger.open(prepared) as ledger:
                operator = ledger.people.actor(caller)
                for log in ended:
                    _open_log(ledger, operator, log, reason, expire)
                # 6.
                repeated = _repeat(ledger, there)
            settle_file(prepared.database)
            relocate(prepared.mlflow, Path(manifest.mlflow), home.mlflow.resolve())
            if reader is not None and home.server is not None:
                with bar("keeping the replaced log") as progress:
                    copy_aside(reader, succession.replaced, progress)
        # 7.
        aside = succession.switch(f"replaced-{now:%Y%m%dT%H%M%S.%fZ}")
    return Restored(
        manifest=manifest,
        origin=key.name,
        verifier_key=str(key.verifier_key),
        lost=dict(there.lost),
        repeated=repeated,
        doubted=dict(there.doubted),
        copies_expire=expire,
        aside=aside,
    )


def _check_expiry(manifest: Manifest, today: date, *, force: bool) -> None:
    if today > manifest.expires and not force:
        raise BackupExpired(
            f"the backup expired on {manifest.expires}: it should have been deleted, because "
            "patients erased since may be in it; --force restores it all the same"
        )


def _bring_keys(home: Home, prepared: Home, manifest: Manifest) -> None:
    if manifest.keys:
        return
    prepared.keys.mkdir(mode=0o700)
    for key in home.keys.glob("*"):
        if KEPT_FILE in key.name:
            continue
        copied = prepared.keys / key.name
        copied.touch(mode=0o600)
        copied.write_bytes(key.read_bytes())
    seed = prepared.keys / "ledger.key"
    if not seed.exists() or signer_in(prepared).name != manifest.origin:
        raise RestoreRefused(
            f"the backup was taken without keys, and those in {home.keys} are not its log's: "
            "put there the keys that the house had when the backup was taken"
        )


def _verify(
    prepared: Home, manifest: Manifest, progress: Callable[[int, int | None], None]
) -> None:
    """Believe the backup's log once it verifies, and is the one that the backup says it is."""
    report = verify_home(prepared, progress)
    if not report.verified:
        first = "; ".join(str(finding) for finding in report.findings[:3])
        raise BackupNotVerified(
            f"the backup's log does not verify, {len(report.findings)} findings: {first}"
        )
    with closing(Reader.open(prepared.database)) as reader, reader.reading() as connection:
        log = standing(connection)
    inside = (log.origin, log.size, log.root.hex(), str(_public(prepared)))
    stated = (manifest.origin, manifest.size, manifest.root, manifest.verifier_key)
    for what, said, is_there in zip(("origin", "size", "root", "key"), stated, inside, strict=True):
        if said != is_there:
            raise BackupNotVerified(
                f"the backup says that its log's {what} is {said}, and it is {is_there}"
            )


def _compare(home: Home, prepared: Home, reader: Reader | None, *, today: date) -> Replaced:
    keys = [key for key in map(_public, (home, prepared)) if key is not None]
    with closing(Reader.open(prepared.database)) as backup:
        return known_of(reader, home, backup, keys=keys, today=today)


def _check_loss(there: Replaced) -> None:
    if there.unreadable is not None:
        raise WouldLose(
            f"the log in the home cannot be read ({there.unreadable}): with --force it is kept "
            "aside and replaced"
        )
    if there.lost:
        kind = "is newer than the backup" if there.shared else "is another log than the backup's"
        lost = (f"{count} {printable(name)}" for name, count in sorted(there.lost.items()))
        raise WouldLose(
            f"the log in the home {kind}: a restore would lose {there.lost.total()} records "
            f"({', '.join(lost)}); --force keeps it aside and opens a new log"
        )


def _who(home: Home, prepared: Home, identify: Identify | None) -> Caller:
    if identify is None:
        return Caller(issuer=_HOUSE, subject="restore", role=Role.INTEGRATOR)
    # An empty home has no issuer: the backup's own is asked.
    return identify(home if home.keys.exists() else prepared)


@dataclass(frozen=True, slots=True)
class _Ended:
    standing: Standing
    shared: int
    verifier_key: VerifierKey | None


def _ended(prepared: Home, there: Replaced) -> list[_Ended]:
    """The logs that end here; the first is the one that the restored log goes on from."""
    with closing(Reader.open(prepared.database)) as restored, restored.reading() as connection:
        log = standing(connection)
    backed_up = _Ended(log, log.size, _public(prepared))
    if there.head is None:
        return [backed_up]
    head = there.head.checkpoint
    last = Standing(origin=head.origin, size=head.size, root=head.root, note=head.text)
    replaced = _Ended(last, min(there.shared, head.size), there.head.key)
    if there.shared == backed_up.standing.size:
        # It went on after the backup: its last head says how far.
        return [replaced]
    return [backed_up] if there.shared == head.size else [backed_up, replaced]


def _public(home: Home) -> VerifierKey | None:
    """The key of a home's log; none where it is missing or damaged."""
    seed = home.keys / "ledger.key"
    with suppress(KeyUnavailable, OSError):
        return signer_in(home).verifier_key if seed.exists() else None
    return None


def _new_key(prepared: Home) -> Signer:
    """Give the prepared log another key and origin; the old key is left behind.

    Checkpoints that the old key signed stay in the log as they are: see `LogOpened`.
    """
    (prepared.keys / "ledger.key").unlink()
    signer = signer_in(prepared)
    with closing(Store(prepared.database)) as store, store.writing() as connection:
        log = standing(connection)
        note = signer.sign(size=log.size, root=log.root).encode()
        connection.execute(update(HEAD).values(origin=signer.name))
        connection.execute(update(SIGNED).values(origin=signer.name, size=log.size, note=note))
    return signer


def _open_log(ledger: Ledger, operator: Actor, log: _Ended, reason: str, expire: date) -> None:
    ledger.record(
        Draft(
            type=RecordType.LOG_OPENED,
            actor=operator,
            outcome="opened",
            body=LogOpened(
                origin=log.standing.origin,
                size=log.standing.size,
                root=log.standing.root.hex(),
                shared=log.shared,
                checkpoint=log.standing.note,
                verifier_key=None if log.verifier_key is None else str(log.verifier_key),
                copies_expire=expire,
                reason=reason,
            ),
        )
    )


# What must not be undone


def _repeat(ledger: Ledger, there: Replaced) -> dict[RecordType, int]:
    """Append again what the replaced log knew and a restore must not undo."""
    repeated: Counter[RecordType] = Counter()
    stopped = _stopped(there.acts)
    for act in there.acts:
        header = act.header
        if header.model is not None and header.id not in stopped:
            continue
        try:
            _append_again(ledger, act, _same_actor(ledger, act))
        except (ProtocolError, UnknownPerson, VaultError):
            # It stands already, or is about whom the backup does not know.
            continue
        repeated[header.type] += 1
    return dict(repeated)


def _stopped(acts: list[Act]) -> set[str]:
    """The suspensions that nobody lifted."""
    last = {act.header.model: act.header for act in acts if act.header.model is not None}
    return {header.id for header in last.values() if header.type is RecordType.MODEL_SUSPENDED}


def _append_again(ledger: Ledger, act: Act, actor: Actor) -> None:
    """Append what a record of the replaced log says, about what this log knows.

    Raises:
        ProtocolError: It may not stand here.
        UnknownPerson: It is about a patient whom this log does not know.
        VaultError: It was sealed under another log's key.
    """
    header, patient = act.header, act.patient or ""
    body = None if header.commitment else BODY_TYPES[header.type].model_validate_json(act.stored)
    match body:
        case PatientErased():
            erasure.erase_again(ledger, actor, pseudonym=patient, ground=body.ground)
        case HoldPlaced():
            put = custody.hold if header.outcome == "placed" else custody.lift
            put(ledger, actor, pseudonym=patient, reason=body.reason)
        case ModelSuspended():
            versions.suspend(ledger, actor, name=header.model or "", reason=body.reason)
        case _:
            key = ledger.people.key(patient)
            objection = unseal(key, header.id, act.stored, header.commitment or "")
            informing.object_to_use(
                ledger,
                actor,
                information_id=custody.holding(ledger, patient).informations[0],
                objection=PatientObjected.model_validate_json(objection),
            )


def _same_actor(ledger: Ledger, act: Act) -> Actor:
    """Who appended a record of the replaced log, as this log knows them."""
    header = act.header
    try:
        opened = decrypt(
            ledger.people.key(ACTORS_KEY), act.actor or b"", about=f"identity {header.actor}"
        )
    except VaultError:
        # Another log's: its actors have a key that this one has not.
        return ledger.people.actor(Caller(issuer=_HOUSE, subject="restore", role=header.role))
    known = KnownActor.model_validate_json(opened)
    return ledger.people.actor(
        Caller(issuer=known.issuer, subject=known.subject, name=known.name, role=header.role)
    )


# Absolute addresses


def relocate(folder: Path, before: Path, after: Path) -> None:
    """Rewrite addresses below `before` in the SQLite databases in a folder.

    MLflow keeps where its artifacts are as absolute addresses, as a path or as a `file:` URI.

    Raises:
        RestoreRefused: A database cannot be rewritten.
    """
    if before == after:
        return
    for database in folder.rglob("*.db"):
        try:
            with closing(sqlite3.connect(database)) as connection, connection:
                for old, new in (
                    (str(before), str(after)),
                    (before.as_uri(), after.as_uri()),
                ):
                    _rewrite(connection, old, new)
        except sqlite3.Error as error:
            raise RestoreRefused(f"{database.name} in the backup cannot be used") from error


def _rewrite(connection: sqlite3.Connection, old: str, new: str) -> None:
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall()
    for (table,) in tables:
        for _, column, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            connection.execute(
                f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?)'  # noqa: S608
                f" WHERE typeof(\"{column}\") = 'text'"
                f' AND ("{column}" = ? OR substr("{column}", 1, ?) = ?)',
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
