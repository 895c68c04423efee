"""A backup becomes the home again: verified first, at once or not at all, as a new log.

Whoever restores cannot know what the old key signed after the backup was taken: at least its own
`BackupTaken`, and whatever a lost disk held. To go on under that key would be to sign two
histories. So every restored log goes on under a new key and a new origin; its first new record,
`LogOpened`, cites the log that it goes on from, and the old key signs nothing any more.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select, update

from guarantee import custody, dossier, versions
from guarantee.appending import Draft
from guarantee.backup import KEEP_DAYS, Bar, Manifest, no_bar, read_manifest, unpack
from guarantee.bodies import (
    BODY_TYPES,
    BackupTaken,
    HoldPlaced,
    LogOpened,
    ModelSuspended,
    PatientErased,
    PatientObjected,
)
from guarantee.checkpoint import Signer
from guarantee.errors import GuaranteeError
from guarantee.home import Home
from guarantee.identity import Caller, Role
from guarantee.ledger import Ledger, origin_of
from guarantee.logged import tiles_of
from guarantee.pen import KEPT_FILE
from guarantee.pseudonyms import ACTORS_KEY, Actor, KnownActor, UnknownPerson
from guarantee.records import Header, RecordType
from guarantee.refusals import ProtocolError
from guarantee.store import BODIES, HEAD, PEOPLE, RECORDS, SIGNED, Reader, Store, StoreUnavailable
from guarantee.succession import succeeding
from guarantee.tiles import TileReader
from guarantee.transfer import NoLog, Standing, copy_out, settle_file, standing
from guarantee.vault import VaultError, decrypt, signing_key, unseal
from guarantee.verify import verify_home

Identify = Callable[[Home], Caller]
"""Who restores: checks a token against the issuer of a home."""

_HOUSE: Final = "urn:garant:house"
"""The issuer of acts that nobody was asked to answer for."""

_REPEATED: Final = (
    RecordType.PATIENT_OBJECTED,
    RecordType.HOLD_PLACED,
    RecordType.PATIENT_ERASED,
    RecordType.MODEL_SUSPENDED,
    # Only to know which suspensions still stand.
    RecordType.MODEL_RESUMED,
)
"""What a restore must not undo, where the log that it replaces knows of it."""


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
        copies_expire: The last day on which backups, and what was kept aside, may still exist.
        aside: Where the replaced content is kept; none where the home held nothing.
    """

    manifest: Manifest
    origin: str
    verifier_key: str
    lost: dict[RecordType, int]
    repeated: dict[RecordType, int]
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
        with _log_there(home, force=force) as there:
            if there.exists and identify is None:
                raise RestoreRefused("who restores over a log answers for it: give a token")
            # 2.
            with bar("unpacking the backup") as progress:
                unpack(file, prepared.path, progress)
            _bring_keys(home, prepared, manifest)
            # 3.
            with bar("verifying the backup") as progress:
                _verify(prepared, manifest, progress)
            # 4.
            lost, shared = _compare(prepared, there, force=force)
            # 5.
            caller = _who(home, prepared, identify)
            ended = _ended(home, prepared, there, shared)
            expire = _copies_expire(manifest, there, now.date())
            key = _new_key(prepared)
            with Ledger.open(prepared) as ledger:
                operator = ledger.people.actor(caller)
                for log in ended:
                    _open_log(ledger, operator, log, reason, expire)
                # 6.
                repeated = _repeat(ledger, there, shared)
            settle_file(prepared.database)
            relocate(prepared.mlflow, Path(manifest.mlflow), home.mlflow.resolve())
            if there.exists and home.server is not None and there.reader is not None:
                with bar("keeping the replaced log") as progress:
                    copy_out(there.reader, succession.replaced, progress)
        # 7.
        aside = succession.switch(f"replaced-{now:%Y%m%dT%H%M%S.%fZ}")
    return Restored(
        manifest=manifest,
        origin=key.name,
        verifier_key=str(key.verifier_key),
        lost=lost,
        repeated=repeated,
        copies_expire=expire,
        aside=aside,
    )


@dataclass(frozen=True, slots=True)
class _LogThere:
    """The log in the home, before it is replaced; `reader` is none where it cannot be read."""

    exists: bool
    reader: Reader | None = None
    standing: Standing | None = None


@contextmanager
def _log_there(home: Home, *, force: bool) -> Iterator[_LogThere]:
    if home.lacks_log:
        yield _LogThere(exists=False)
        return
    if home.server is not None:
        # A server that cannot be reached cannot take the log either; its tables are made here.
        Store(home.server).close()
    reader = Reader.open(home.url)
    try:
        with reader.reading() as connection:
            found = _LogThere(True, reader, standing(connection))
    except NoLog:
        found = _LogThere(exists=home.server is None)
    except StoreUnavailable as error:
        found = _LogThere(exists=True)
        if not force:
            reader.close()
            raise WouldLose(
                f"the log in the home cannot be read ({error}): with --force it is kept aside "
                "and replaced"
            ) from error
    try:
        yield found
    finally:
        reader.close()


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
    if not seed.exists() or origin_of(signing_key(seed)) != manifest.origin:
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
    inside = (log.origin, log.size, log.root.hex(), _public(prepared))
    stated = (manifest.origin, manifest.size, manifest.root, manifest.verifier_key)
    for what, said, is_there in zip(("origin", "size", "root", "key"), stated, inside, strict=True):
        if said != is_there:
            raise BackupNotVerified(
                f"the backup says that its log's {what} is {said}, and it is {is_there}"
            )


def _compare(prepared: Home, there: _LogThere, *, force: bool) -> tuple[dict[RecordType, int], int]:
    """What the log there has and the backup has not; how many first records both have."""
    if there.reader is None or there.standing is None:
        return {}, 0
    with (
        closing(Reader.open(prepared.database)) as restored,
        there.reader.reading() as old,
        restored.reading() as new,
    ):
        shared = _shared(old, there.standing.size, new, standing(new).size)
        types = old.execute(select(RECORDS.c.type).where(RECORDS.c.position >= shared))
        lost = Counter(RecordType(row.type) for row in types)
    if lost and not force:
        kind = "is newer than the backup" if shared else "is another log than the backup's"
        raise WouldLose(
            f"the log in the home {kind}: a restore would lose {sum(lost.values())} records "
            f"({', '.join(f'{count} {name}' for name, count in sorted(lost.items()))}); "
            "--force keeps it aside and opens a new log"
        )
    return dict(lost), shared


def _shared(old: Connection, old_size: int, new: Connection, new_size: int) -> int:
    """How many first records two logs have in common, by their roots."""
    tiles = TileReader(tiles_of(old)), TileReader(tiles_of(new))

    def same(size: int) -> bool:
        try:
            return tiles[0].root(size) == tiles[1].root(size)
        except IndexError:
            return False

    low, high = 0, min(old_size, new_size)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if same(middle) else (low, middle - 1)
    return low


def _who(home: Home, prepared: Home, identify: Identify | None) -> Caller:
    if identify is None:
        return Caller(issuer=_HOUSE, subject="restore", role=Role.INTEGRATOR)
    # An empty home has no issuer: the backup's own is asked.
    return identify(home if home.keys.exists() else prepared)


@dataclass(frozen=True, slots=True)
class _Ended:
    standing: Standing
    shared: int
    verifier_key: str | None


def _ended(home: Home, prepared: Home, there: _LogThere, shared: int) -> list[_Ended]:
    """The logs that end here; the first is the one that the restored log goes on from."""
    with closing(Reader.open(prepared.database)) as restored, restored.reading() as connection:
        log = standing(connection)
    backed_up = _Ended(log, log.size, _public(prepared))
    if there.standing is None:
        return [backed_up]
    replaced = _Ended(there.standing, shared, _public(home))
    if shared == backed_up.standing.size:
        # It went on after the backup: its last head says how far.
        return [replaced]
    return [backed_up] if shared == there.standing.size else [backed_up, replaced]


def _public(home: Home) -> str | None:
    seed = home.keys / "ledger.key"
    return str(_signer(home).verifier_key) if seed.exists() else None


def _signer(home: Home) -> Signer:
    private = signing_key(home.keys / "ledger.key")
    return Signer(name=origin_of(private), private=private)


def _new_key(prepared: Home) -> Signer:
    """Give the prepared log another key and origin; the old key is left behind.

    Checkpoints that the old key signed stay in the log as they are: see `LogOpened`.
    """
    (prepared.keys / "ledger.key").unlink()
    signer = _signer(prepared)
    with closing(Store(prepared.database)) as store, store.writing() as connection:
        log = standing(connection)
        note = signer.sign(size=log.size, root=log.root).encode()
        connection.execute(update(HEAD).values(origin=signer.name))
        connection.execute(update(SIGNED).values(origin=signer.name, size=log.size, note=note))
    return signer


def _copies_expire(manifest: Manifest, there: _LogThere, today: date) -> date:
    """The last day of every copy that this log does not know of by a `BackupTaken` of its own."""
    days = [manifest.expires]
    if there.exists:
        days.append(today + timedelta(days=KEEP_DAYS))
    if there.reader is not None:
        with there.reader.reading() as old:
            stored = old.scalars(
                select(BODIES.c.stored)
                .join(RECORDS, RECORDS.c.id == BODIES.c.record_id)
                .where(RECORDS.c.type == RecordType.BACKUP_TAKEN.value)
            )
            days += [BackupTaken.model_validate_json(body).expires for body in stored]
    return max(days)


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
                verifier_key=log.verifier_key,
                copies_expire=expire,
                reason=reason,
            ),
        )
    )


# What must not be undone


def _repeat(ledger: Ledger, there: _LogThere, shared: int) -> dict[RecordType, int]:
    """Append again what the replaced log knew and a restore must not undo."""
    repeated: Counter[RecordType] = Counter()
    if there.reader is None:
        return repeated
    with there.reader.reading() as old:
        rows = old.execute(
            select(RECORDS.c.header, BODIES.c.stored, BODIES.c.key_id)
            # An objection of a patient who was erased later has no body any more.
            .join_from(RECORDS, BODIES, RECORDS.c.id == BODIES.c.record_id)
            .where(
                RECORDS.c.position >= shared,
                RECORDS.c.type.in_([kind.value for kind in _REPEATED]),
            )
            .order_by(RECORDS.c.position)
        ).all()
        known = [(Header.decode(row.header), row.stored, row.key_id) for row in rows]
        stopped = _stopped(header for header, _, _ in known)
        for header, stored, patient in known:
            if header.model is not None and header.id not in stopped:
                continue
            try:
                actor = _same_actor(ledger, header, old)
                _append_again(ledger, header, stored, header.subject or patient or "", actor)
            except (ProtocolError, UnknownPerson):
                # It stands already, or is about what the backup does not know.
                continue
            repeated[header.type] += 1
    return dict(repeated)


def _stopped(headers: Iterator[Header]) -> set[str]:
    """The suspensions that nobody lifted."""
    last = {header.model: header for header in headers if header.model is not None}
    return {header.id for header in last.values() if header.type is RecordType.MODEL_SUSPENDED}


def _append_again(
    ledger: Ledger, header: Header, stored: bytes, patient: str, actor: Actor
) -> None:
    """Append what a record of the replaced log says, about what this log knows.

    Raises:
        ProtocolError: It may not stand here.
        UnknownPerson: It is about a patient whom this log does not know.
    """
    body = None if header.commitment else BODY_TYPES[header.type].model_validate_json(stored)
    match body:
        case PatientErased():
            custody.erase_again(ledger, actor, pseudonym=patient, ground=body.ground)
        case HoldPlaced():
            put = custody.hold if header.outcome == "placed" else custody.lift
            put(ledger, actor, pseudonym=patient, reason=body.reason)
        case ModelSuspended():
            versions.suspend(ledger, actor, name=header.model or "", reason=body.reason)
        case _:
            key = ledger.people.key(patient)
            objection = unseal(key, header.id, stored, header.commitment or "")
            dossier.object_to_use(
                ledger,
                actor,
                information_id=custody.holding(ledger, patient).informations[0],
                objection=PatientObjected.model_validate_json(objection),
            )


def _same_actor(ledger: Ledger, header: Header, old: Connection) -> Actor:
    """Who appended a record of the replaced log, as this log knows them."""
    stored = old.scalar(select(PEOPLE.c.stored).where(PEOPLE.c.pseudonym == header.actor))
    try:
        opened = decrypt(
            ledger.people.key(ACTORS_KEY), stored or b"", about=f"identity {header.actor}"
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
