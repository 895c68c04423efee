"""The protocol, replayed: where each record may stand, and what bodies in clear must say."""

import secrets
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

from guarantee import updates
from guarantee.bodies import (
    BODY_TYPES,
    SEALED_TYPES,
    AccessRecorded,
    BackupTaken,
    Body,
    CaseReviewed,
    DrawAbandoned,
    DrawAnnounced,
    KeyRegistered,
    KeyWithdrawn,
    LogOpened,
    MemberAppointed,
    ModelApproved,
    ModelPromoted,
    ModelRegistered,
    ModelUpdated,
    PatientErased,
    SampleDrawn,
)
from guarantee.card import Card
from guarantee.draw import (
    SampleRefused,
    check_announcement,
    check_review,
)
from guarantee.findings import Finding, Progress, Report
from guarantee.footing import followed
from guarantee.founding import Founding
from guarantee.lapse import time_is_up
from guarantee.protocol import advance
from guarantee.rebuilt import Rebuilt
from guarantee.records import Header, MalformedRecord, RecordType
from guarantee.refusals import ProtocolError
from guarantee.samples import Announced, Draws, check_samples
from guarantee.signature import PublicKey, SignatureRefused
from guarantee.signing_keys import check_key
from guarantee.situations import Information, KeyHolder, KeyStep, Model, Remembered, version_key
from guarantee.source import Entry, Row, Source

CLOCK_TOLERANCE_MS = 1000
"""Records that wait for the same commit may stand in another order than their clocks."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A `KeyRegistered`, and where it stands."""

    index: int
    record: str
    body: KeyRegistered


@dataclass(frozen=True, slots=True)
class Opened:
    """A `LogOpened`, and where it stands."""

    index: int
    body: LogOpened


@dataclass(slots=True)
class Replayed:
    """Where the records led, and what later checks need of them.

    Attributes:
        state: The protocol's state after the last record.
        keys: People's own keys, by their thumbprint.
        holders: The same, by the id of their registration.
        registered: Every registration of a key: its index, its record and what it says.
        registrations: Headers of `ModelRegistered`, by the version's key.
        versions: What registrations say, by their id.
        digests: Registered digests, by the version's key.
        opened: Every `LogOpened`, in their order.
        erased: Records whose bodies an erasure names, with the id of that erasure.
        erasures: Headers of `PatientErased`.
        people: The first record that names each person, by the pseudonym of who acted or is
            concerned.
        lowered: The first decision without the key that its actor had, and how many there are.
        unsigned: How many votes on each version that waits no key signed.
    """

    state: Remembered = field(default_factory=Remembered)
    keys: dict[str, PublicKey] = field(default_factory=dict)
    holders: dict[str, PublicKey] = field(default_factory=dict)
    registered: list[Registered] = field(default_factory=list)
    registrations: dict[str, Header] = field(default_factory=dict)
    versions: dict[str, ModelRegistered] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    opened: list[Opened] = field(default_factory=list)
    erased: dict[str, str] = field(default_factory=dict)
    erasures: list[Header] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)
    order: list[Finding] = field(default_factory=list)
    draws: Draws = field(default_factory=Draws)
    founding: Founding = field(default_factory=Founding)
    lowered: tuple[str, int] = ("", 0)
    unsigned: dict[str, int] = field(default_factory=dict)
    latest: int = 0

    def card(self, header: Header) -> Card | None:
        """The card of the version that a header names, where it was registered."""
        version = version_key(header.model or "", header.model_version or "")
        registration = self.registrations.get(version)
        said = None if registration is None else self.versions.get(registration.id)
        return None if said is None else said.card


def replay(source: Source, tree: Rebuilt, report: Report, progress: Progress) -> Replayed:
    """Decode every header that stands, move the protocol on, and read what bodies in clear say.

    1. A header is canonical, no id comes twice, and the row repeats it truly.
    2. It may stand where it stands; its clock does not step back unseen, and by the times that
       records claim no review lapsed before the card says.
    3. A body in clear has its type's form and says what its header and earlier records say.
    4. A missing body is accounted for by an erasure, and an erasure left no body that it names.
    5. A sample is the one that its announcement draws.
    """
    replayed = Replayed()
    seen = _Ids()
    bare: dict[str, int] = {}
    for entry, header in standing(source, tree, report):
        # 1.
        seen.add(header.id)
        if entry.row is not None and entry.row != _row_of(header):
            report.found(
                "the row names another record, type, dossier or model than its header",
                record=header.id,
                index=entry.place,
            )
        for person in (header.actor, header.subject):
            if person is not None:
                replayed.people.setdefault(person, header.id)
        # 2.
        _check_clock(header, entry.place, replayed, report)
        try:
            advance(header, replayed.state)
        except ProtocolError as error:
            replayed.order.append(Finding(problem=str(error), record=header.id, index=entry.place))
        replayed.founding.add(header)
        _check_lapse(header, entry.place, replayed, report)
        _check_level(header, entry.place, replayed, report)
        # 3.
        if (header.commitment is None) == (header.type in SEALED_TYPES):
            report.found(
                "the body is clear where it should be sealed, or the reverse",
                record=header.id,
                index=entry.place,
            )
        elif entry.stored is None:
            bare[header.id] = entry.place if header.type in SEALED_TYPES else -1 - entry.place
        elif header.commitment is None and entry.place not in tree.spoilt:
            _read(header, entry.place, entry.stored, tree=tree, replayed=replayed, report=report)
        if entry.place % 1024 == 0:
            progress(entry.place, tree.size)
    _check_ids(source, tree, seen, report)
    # 4.
    _check_erased(bare, replayed, report)
    # 5.
    check_samples(source, tree, replayed.draws, latest=replayed.latest, report=report)
    _remark_people(replayed, report)
    if replayed.order and (tree.altered or tree.spoilt):
        report.remark("the order of steps was not judged, because records were altered")
    else:
        report.findings += replayed.order
    return replayed


def standing(source: Source, tree: Rebuilt, report: Report) -> Iterator[tuple[Entry, Header]]:
    """Every record whose header is the one that was logged, decoded."""
    for entry in source.entries(0, tree.size):
        if entry.place in tree.altered:
            continue
        try:
            yield entry, Header.decode(entry.header)
        except MalformedRecord as error:
            report.found(str(error), record=entry.id, index=entry.place)


_PARTS = 8


class _Ids:
    """Which ids came twice, in 8 bytes each: the hash is keyed, so that nobody can aim at it."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._hashes = array("Q")

    def add(self, record_id: str) -> None:
        """Take the next record's id."""
        self._hashes.append(self._hash(record_id))

    def repeated(self) -> set[int]:
        """Hashes of ids that came more than once."""
        twice: set[int] = set()
        # A part at a time: as a list, all of them would take more memory than the replay.
        for part in range(_PARTS):
            ordered = sorted(one for one in self._hashes if one % _PARTS == part)
            twice.update(one for one, next_one in pairwise(ordered) if one == next_one)
        return twice

    def _hash(self, record_id: str) -> int:
        digest = blake2b(record_id.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest)

    def is_among(self, record_id: str, hashes: set[int]) -> bool:
        """Whether the id is one of those."""
        return self._hash(record_id) in hashes


def _check_ids(source: Source, tree: Rebuilt, seen: _Ids, report: Report) -> None:
    twice = seen.repeated()
    if not twice:
        return
    for entry, header in standing(source, tree, Report(anchor="")):
        if seen.is_among(header.id, twice):
            report.found("another record has the same id", record=header.id, index=entry.place)


def _row_of(header: Header) -> Row:
    return Row(header.id, header.type, header.dossier, header.model)


def _check_level(header: Header, index: int, replayed: Replayed, report: Report) -> None:
    """Take note of what was not signed with people's own keys, though nothing says it had to be."""
    if header.type is RecordType.DECISION_SIGNED and header.key is None:
        holder = replayed.state.get(KeyHolder, header.actor)
        if holder is not None and holder.step is KeyStep.REGISTERED:
            first, count = replayed.lowered
            replayed.lowered = first or header.id, count + 1
    elif header.type is RecordType.VOTE_CAST and header.key is None:
        version = version_key(header.model or "", header.model_version or "")
        replayed.unsigned[version] = replayed.unsigned.get(version, 0) + 1
    elif header.type is RecordType.MODEL_APPROVED:
        version = version_key(header.model or "", header.model_version or "")
        if count := replayed.unsigned.pop(version, 0):
            report.remark(
                f"record {header.id}, index {index}: {version} was approved with {count} votes "
                "that rest on a token alone, signed by no key"
            )


def _check_lapse(header: Header, index: int, replayed: Replayed, report: Report) -> None:
    if header.type is not RecordType.REVIEW_LAPSED:
        return
    card = replayed.card(header)
    if card is not None and not time_is_up(header.dossier or "", card, at=header.time):
        report.found(
            f"the review lapsed before its time: the card leaves {card.lapse_hours} hours",
            record=header.id,
            index=index,
        )


def _remark_people(replayed: Replayed, report: Report) -> None:
    if (founded := replayed.founding.words) is not None:
        report.remark(founded)
    first, count = replayed.lowered
    if count:
        report.remark(
            f"{count} decisions are attested by the issuer alone, although their clinicians had "
            f"keys of their own; the first is {first}"
        )


def check_registrations(replayed: Replayed, own: str, report: Report) -> None:
    """Check that keys were registered in this log, or in the one that it goes on from.

    Args:
        own: The log's origin.
    """
    for one in replayed.registered:
        later = next((opened for opened in replayed.opened if opened.index > one.index), None)
        if later is not None and later.body.shared <= one.index:
            continue  # A restore put these records under another log; which, no record says.
        origin = own if later is None else later.body.origin
        if one.body.log != origin:
            report.found(
                f"the key was registered for the log {one.body.log!r}, not for {origin!r}",
                record=one.record,
                index=one.index,
            )


def _check_clock(header: Header, index: int, replayed: Replayed, report: Report) -> None:
    if header.time < replayed.latest - CLOCK_TOLERANCE_MS:
        report.remark(
            f"record {header.id}, index {index}: its clock stands "
            f"{replayed.latest - header.time} ms before an earlier record's"
        )
    replayed.latest = max(replayed.latest, header.time)


def _read(
    header: Header, place: int, stored: bytes, *, tree: Rebuilt, replayed: Replayed, report: Report
) -> None:
    try:
        body = BODY_TYPES[header.type].model_validate_json(stored)
    except ValueError:
        report.found(f"the body is not that of a {header.type}", record=header.id, index=place)
        return
    problem = _contradiction(header, body, place, tree=tree, replayed=replayed, report=report)
    if problem is not None:
        report.found(problem, record=header.id, index=place)


def _contradiction(
    header: Header, body: Body, index: int, *, tree: Rebuilt, replayed: Replayed, report: Report
) -> str | None:
    """What a body in clear says against its header or earlier records, if it does."""
    version = version_key(header.model or "", header.model_version or "")
    match body:
        case ModelRegistered():
            replayed.digests.setdefault(version, body.digest)
            replayed.registrations.setdefault(version, header)
            replayed.versions[header.id] = body
            if body.card.name != header.model:
                return "the card is another model's"
        case ModelApproved() | ModelPromoted() | ModelUpdated():
            if body.digest != replayed.digests.get(version):
                return "the digest is not the one that was registered"
            if isinstance(body, ModelUpdated):
                return _update_contradiction(header, body, replayed)
        case MemberAppointed() if body.profession != header.outcome:
            return "the body names another seat than its header"
        case AccessRecorded() if body.purpose != header.outcome:
            return "the body names another purpose than its header"
        case PatientErased():
            replayed.erasures.append(header)
            for record in body.records:
                replayed.erased.setdefault(record, header.id)
            informed = {
                record
                for record in body.records
                if replayed.state.get(Information, record) is not None
            }
            if informed != set(followed(header, replayed.state)):
                return "it follows other informations of the patient than those that it erases"
        case BackupTaken():
            if body.size > index or tree.root_at(body.size).hex() != body.root:
                return "the backup is not of this log"
        case LogOpened():
            replayed.opened.append(Opened(index, body))
        case KeyRegistered():
            return _key_contradiction(header, body, index, replayed, report)
        case KeyWithdrawn():
            lost = replayed.holders.get(header.follows[0]) if header.follows else None
            if lost is None or lost.thumbprint != body.thumbprint:
                return "the body names another key than the registration that it follows"
        case DrawAnnounced() | SampleDrawn() | CaseReviewed():
            return _college_contradiction(header, body, index, replayed)
        case DrawAbandoned():
            replayed.draws.abandoned.setdefault(
                header.follows[0] if header.follows else "", header.id
            )
    return None


def _update_contradiction(header: Header, body: ModelUpdated, replayed: Replayed) -> str | None:
    version = version_key(header.model or "", header.model_version or "")
    registration = replayed.registrations.get(version)
    update = replayed.versions.get(registration.id) if registration is not None else None
    charter = replayed.versions.get(header.follows[0]) if header.follows else None
    if update is None or charter is None:
        return None  # The protocol names what is missing.
    model = replayed.state.get(Model, header.model or "")
    return updates.contradiction(
        body, update, charter.card, answering=model.version if model is not None else None
    )


def _key_contradiction(
    header: Header, body: KeyRegistered, index: int, replayed: Replayed, report: Report
) -> str | None:
    replayed.registered.append(Registered(index, header.id, body))
    before = replayed.holders.get(header.follows[0]) if header.follows else None
    try:
        key = check_key(header, body, standing=before)
    except SignatureRefused as error:
        return str(error)
    replayed.keys.setdefault(key.thumbprint, key)
    replayed.holders[header.id] = key
    if len(header.follows) > 1:
        withdrawals = " and ".join(header.follows[1:])
        report.remark(
            f"record {header.id}, index {index}: {header.actor} registered a key in place of a "
            f"lost one, which {withdrawals} withdrew"
        )
    elif header.follows:
        report.remark(
            f"record {header.id}, index {index}: {header.actor} replaced their key, signed with "
            "the one before"
        )
    return None


def _college_contradiction(
    header: Header,
    body: DrawAnnounced | SampleDrawn | CaseReviewed,
    index: int,
    replayed: Replayed,
) -> str | None:
    announcement = header.follows[0] if header.follows else ""
    try:
        match body:
            case DrawAnnounced():
                replayed.draws.announced[header.id] = Announced(index, header.time, body)
                before = replayed.draws.announced.get(announcement)
                check_announcement(header, body, start=0 if before is None else before.index)
            case SampleDrawn():
                replayed.draws.samples.setdefault(announcement, (header.id, index, body))
            case CaseReviewed() if announcement in replayed.draws.samples:
                check_review(header, body, replayed.draws.samples[announcement][2])
    except SampleRefused as error:
        return str(error)
    return None


def _check_erased(bare: dict[str, int], replayed: Replayed, report: Report) -> None:
    for record, place in bare.items():
        if place < 0:
            report.found(
                "the body is missing, and it is no patient's to erase",
                record=record,
                index=-1 - place,
            )
        elif record not in replayed.erased:
            report.found(
                "the body is missing, and nothing on record says why", record=record, index=place
            )
    for record, erasure in replayed.erased.items():
        if record not in bare:
            report.found(f"erasure {erasure} names it, but its body is there", record=record)
