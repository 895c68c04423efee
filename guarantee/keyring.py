"""Where the master key comes from, and which one of several the vault is under now.

The database says so itself: its wrapped keys open under one master key alone. So nothing can
disagree after a stop in the middle of a rotation: the key that opens the vault is the master key.
"""

import base64
import binascii
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, select

from guarantee.store import KEYS
from guarantee.vault import CannotOpen, KeyUnavailable, MasterKey, secret_file

VARIABLE: Final = "GARANT_MASTER_KEY"
_BYTES: Final = 32
_MOST_TRIED: Final = 16


class Keyring(Protocol):
    """A place that keeps master keys: files, the environment, a key service."""

    def keys(self) -> Sequence[MasterKey]:
        """The keys at hand, the likeliest first.

        Raises:
            KeyUnavailable: One of them has the wrong form.
        """

    def first(self) -> MasterKey:
        """The key of a vault that holds nothing yet; made where there is none."""

    def successor(self, current: MasterKey) -> MasterKey:
        """The key to rotate to; kept durably before it is returned.

        Raises:
            KeyUnavailable: There is no other key, and none can be made here.
        """

    def settle(self, current: MasterKey) -> None:
        """The vault is under `current` for good: the key before it may go."""


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """`master.key` and, while it is rotated, `master.next`, in one folder."""

    folder: Path

    def keys(self) -> Sequence[MasterKey]:
        """The keys in both files, `master.key` first."""
        # In this order: another process may move the second onto the first at any moment.
        following, present = _read(self._next), _read(self._present)
        return [key for key in (present, following) if key is not None]

    def first(self) -> MasterKey:
        """The key in `master.key`, made on first use."""
        return MasterKey(secret_file(self._present, _BYTES))

    def successor(self, current: MasterKey) -> MasterKey:
        """The key in `master.next`: that of an interrupted rotation, or a new one."""
        self.settle(current)
        with self._locked():
            return MasterKey(secret_file(self._next, _BYTES))

    def settle(self, current: MasterKey) -> None:
        """Move `master.next` to its place where it is the one; the key before it is overwritten."""
        if not self._next.exists():
            return
        # Without the lock, another rotation's unused key could be what is moved.
        with self._locked():
            if not self._next.exists() or self._next.read_bytes() != current.secret:
                return
            former = os.open(self._present, os.O_WRONLY) if self._present.exists() else None
            self._next.replace(self._present)
            _sync(self.folder)
            if former is not None:
                os.write(former, bytes(_BYTES))
                os.fsync(former)
                os.close(former)

    @property
    def _present(self) -> Path:
        return self.folder / "master.key"

    @property
    def _next(self) -> Path:
        return self.folder / "master.next"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


@dataclass(frozen=True, slots=True)
class GivenKeys:
    """Keys from the environment, which whoever operates the house changes.

    Attributes:
        given: One key; two while they are rotated, in either order.
    """

    given: tuple[MasterKey, ...]

    @classmethod
    def parse(cls, text: str) -> "GivenKeys":
        """The keys in a variable: base64 of 32 bytes each, between commas.

        Raises:
            KeyUnavailable: Not of that form; never holds what was given.
        """
        try:
            secrets = [base64.b64decode(one.strip(), validate=True) for one in text.split(",")]
        except (binascii.Error, ValueError):
            secrets = []
        if not secrets or any(len(secret) != _BYTES for secret in secrets):
            # Without its cause, whose words could hold the key.
            raise KeyUnavailable(
                f"{VARIABLE} is the base64 of 32 bytes; while keys are rotated, of two, "
                "with a comma between them"
            ) from None
        return cls(tuple(MasterKey(secret) for secret in secrets))

    def keys(self) -> Sequence[MasterKey]:
        """The keys as given."""
        return self.given

    def first(self) -> MasterKey:
        """The key given first."""
        return self.given[0]

    def successor(self, current: MasterKey) -> MasterKey:
        """The other key given."""
        for key in self.given:
            if key != current:
                return key
        raise KeyUnavailable(
            f"{VARIABLE} holds one key alone: add the new one after a comma, restart what "
            "serves, and rotate again"
        )

    def settle(self, current: MasterKey) -> None:
        """Nothing: whoever set the variable takes the former key out of it."""


def keyring_of(folder: Path, environ: Mapping[str, str]) -> Keyring:
    """The keyring of a home: its variable where that is set, else the files in `folder`.

    Raises:
        KeyUnavailable: The variable is not of the form of a key.
    """
    given = environ.get(VARIABLE)
    return GivenKeys.parse(given) if given else KeyFiles(folder)


def opening(keyring: Keyring, connection: Connection) -> MasterKey:
    """The master key that the vault is under.

    Raises:
        KeyUnavailable: None of the keys at hand opens it.
    """
    keys = keyring.keys()
    wrapped = connection.execute(select(KEYS).order_by(KEYS.c.id).limit(_MOST_TRIED)).all()
    if not wrapped:
        return keys[0] if keys else keyring.first()
    for key in keys:
        # One altered row must not keep the house closed; the verifier finds it.
        if any(_opens(key, row.wrapped, row.id) for row in wrapped):
            return key
    raise KeyUnavailable(
        f"none of the master keys at hand opens the vault: restore keys/master.key, or {VARIABLE}"
    )


def _read(path: Path) -> MasterKey | None:
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyUnavailable(f"{path} cannot be read: {error}") from error
    if len(secret) != _BYTES:
        raise KeyUnavailable(f"{path} does not hold {_BYTES} bytes: restore it from a backup")
    return MasterKey(secret)


def _opens(key: MasterKey, wrapped: bytes, owner: str) -> bool:
    try:
        key.unwrap(wrapped, owner=owner)
    except CannotOpen:
        return False
    return True


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
