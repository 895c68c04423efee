"""Alerts: what a finding's record says, sent to one address until it is taken.

An alert is named by its record, so however often it comes it is one. It holds what the record
holds in clear: columns, tests and figures, nobody's name and nobody's value.

Each waits as a file in the home until the address has taken it: a run tries a few times, and the
next run goes on.
"""

import hashlib
import hmac
import http.client
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from guarantee.bodies import (
    BoundMissed,
    DriftCleared,
    DriftDetected,
    FeatureDrift,
    IncidentEnded,
    IncidentReported,
)
from guarantee.card import Response
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.records import RecordType
from guarantee.situations import Model
from monitoring.errors import MonitoringError
from monitoring.standing import Begun
from monitoring.suspension import said

SIGNATURE: Final = "Garant-Signature"
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_LEAST_SECRET: Final = 16
_PASSING: Final = (408, 425, 429)
"""Statuses beside 5xx that may be another ones in a minute."""


class InvalidWebhook(MonitoringError):
    """The address or the secret cannot be used; the message repeats neither."""


class Alert(BaseModel):
    """What is sent, as JSON.

    Attributes:
        id: The record's, and so the alert's.
        log: The log that holds the record, at `index`.
        time: ISO 8601, UTC, as the record claims.
        response: What the card's policy made of it.
        suspension: The record that suspends the model by now, if any does.
        columns, missed: What drifted; which of the card's bounds are not kept.
        ends: The findings that are over.
        text: All of it in a line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    type: RecordType
    log: str
    index: int
    time: str
    model: str
    version: str
    cases: int
    columns: tuple[FeatureDrift, ...] = ()
    missed: tuple[BoundMissed, ...] = ()
    response: Response
    suspension: str | None = None
    ends: tuple[str, ...] = ()
    text: str


def begun(ledger: Ledger, found: Recorded, body: Begun, response: Response) -> Alert:
    """The alert of a finding, whose suspension, if any, is on record already."""
    model = ledger.get(Model, found.header.model or "")
    cause = model.cause if model is not None else None
    stopped = f"; the model is suspended ({cause})" if cause else ""
    return _alert(
        ledger,
        found,
        f"{said(body)}{stopped}",
        cases=body.cases,
        columns=body.features if isinstance(body, DriftDetected) else (),
        missed=body.missed if isinstance(body, IncidentReported) else (),
        response=response,
        suspension=cause,
    )


def over(ledger: Ledger, end: Recorded, ended: tuple[str, ...]) -> Alert:
    """The alert that what was found is over; for those who were told of it."""
    if end.header.type is RecordType.DRIFT_CLEARED:
        cases = ledger.open_as(end, DriftCleared).cases
        text = f"no drift any more in {cases} cases"
    else:
        cases = ledger.open_as(end, IncidentEnded).cases
        text = f"the card's bounds are kept again in {cases} cases"
    return _alert(ledger, end, text, cases=cases, response=Response.ALERT, ends=ended)


def _alert(
    ledger: Ledger,
    recorded: Recorded,
    text: str,
    *,
    cases: int,
    response: Response,
    columns: tuple[FeatureDrift, ...] = (),
    missed: tuple[BoundMissed, ...] = (),
    suspension: str | None = None,
    ends: tuple[str, ...] = (),
) -> Alert:
    header = recorded.header
    model, version = header.model or "", header.model_version or ""
    return Alert(
        id=recorded.id,
        type=header.type,
        log=ledger.verifier_key.name,
        index=recorded.index,
        time=datetime.fromtimestamp(header.time / 1000, UTC).isoformat(),
        model=model,
        version=version,
        cases=cases,
        columns=columns,
        missed=missed,
        response=response,
        suspension=suspension,
        ends=ends,
        text=f"{model} {version}: {text}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where alerts go.

    Attributes:
        url: https, or http on this machine; it may hold a secret, so it is never printed.
        secret: Shared with the receiver, who checks the signature with it.
        seconds: So long a try waits for a word from the address.
        pauses: Seconds before each further try.
        wait: How a pause is made.
    """

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    seconds: float = 10
    pauses: tuple[float, ...] = (1, 4, 15)
    wait: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """Check address and secret.

        Raises:
            InvalidWebhook: One of them cannot be used.
        """
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        local = parts.scheme == "http" and host in _LOOPBACK
        if not host or (parts.scheme != "https" and not local) or not self.url.isascii():
            raise InvalidWebhook("the address for alerts is https, or http on this machine")
        if self.secret is not None and len(self.secret) < _LEAST_SECRET:
            raise InvalidWebhook(f"the secret for alerts has {_LEAST_SECRET} characters at least")

    def send(self, alert: Alert) -> "Problem | None":
        """Send an alert until it is taken; what stood in the way at last, None if nothing did."""
        problem = self._try(alert)
        for pause in self.pauses:
            if problem is None or problem.is_final:
                break
            self.wait(pause)
            problem = self._try(alert)
        return problem

    def _try(self, alert: Alert) -> "Problem | None":
        parts = urlsplit(self.url)
        body = alert.model_dump_json().encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": alert.id}
        if self.secret is not None:
            headers[SIGNATURE] = signature(self.secret, body)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.seconds)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("POST", path, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Problem(words=type(error).__name__)
        finally:
            connection.close()
        if status // 100 == 2:
            return None
        passing = status // 100 == 5 or status in _PASSING
        return Problem(words=f"HTTP {status}", is_final=not passing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why an alert was not taken.

    Attributes:
        is_final: Of this alert, and no use to try again at once; else of the address.
    """

    words: str
    is_final: bool = False


def signature(secret: str, body: bytes) -> str:
    """What the receiver makes again of the body's very bytes, and compares in constant time.

    Source: HMAC, RFC 2104, with SHA-256.
    """
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An alert that nobody has taken yet; the next run tries again."""

    alert: Alert
    problem: str


class Outbox:
    """Alerts of one home: those that wait, and the ids of those that were taken."""

    def __init__(self, home: Home) -> None:
        self._waiting = home.monitoring / "alerts" / "waiting"
        self._taken = home.monitoring / "alerts" / "taken"

    def put(self, alerts: Sequence[Alert]) -> None:
        """Have these wait; none that waits or was taken before, and no end of what nobody heard."""
        self._waiting.mkdir(parents=True, exist_ok=True)
        self._taken.mkdir(exist_ok=True)
        for alert in alerts:
            heard = not alert.ends or any(self._knows(one) for one in alert.ends)
            if heard and not self._knows(alert.id):
                draft = self._waiting / f".{alert.id}.{secrets.token_hex(8)}"
                draft.write_text(alert.model_dump_json())
                draft.replace(self._waiting / f"{alert.id}.json")

    def waiting(self) -> list[Alert]:
        """Those that wait, the oldest first."""
        return [alert for file in self._files() if (alert := _read(file)) is not None]

    def count(self) -> int:
        """How many wait, with those whose file cannot be read."""
        return len(self._files())

    def deliver(self, webhook: Webhook) -> tuple[list[Alert], list[Undelivered]]:
        """Send each that waits; those taken, and those that are not."""
        taken: list[Alert] = []
        undelivered: list[Undelivered] = []
        down: str | None = None
        for alert in self.waiting():
            # An address that is down is not waited for once an alert.
            problem = webhook.send(alert) if down is None else Problem(words=down)
            if problem is None:
                name = f"{alert.id}.json"
                with suppress(FileNotFoundError):  # Another run was as quick.
                    (self._waiting / name).rename(self._taken / name)
                taken.append(alert)
                continue
            undelivered.append(Undelivered(alert, problem.words))
            if not problem.is_final:
                down = problem.words
        return taken, undelivered

    def _knows(self, record_id: str) -> bool:
        return any(
            (folder / f"{record_id}.json").exists() for folder in (self._waiting, self._taken)
        )

    def _files(self) -> list[Path]:
        # Ids begin with their time.
        return sorted(self._waiting.glob("*.json")) if self._waiting.is_dir() else []


def _read(file: Path) -> Alert | None:
    try:
        return Alert.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
