"""Bodies open with their own key, for their own record, as their header committed to them."""

from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from guarantee.vault import (
    COMMITMENT_TAG,
    CannotOpen,
    KeyUnavailable,
    MasterKey,
    WrongCommitment,
    encrypt,
    new_key,
    seal,
    secret_file,
    unseal,
)

KEY = new_key()


@given(st.binary(max_size=200))
def test_a_body_opens_as_it_was_sealed(body: bytes) -> None:
    sealed = seal(AESGCM(KEY), "record", body)
    assert sealed.commitment is not None
    assert sealed.digest == sha256(sealed.stored).hexdigest()
    assert unseal(KEY, "record", sealed.stored, sealed.commitment) == body


def test_a_body_opens_for_its_own_record_and_key_only() -> None:
    sealed = seal(AESGCM(KEY), "record", b"body")
    assert sealed.commitment is not None
    with pytest.raises(CannotOpen):
        unseal(KEY, "another record", sealed.stored, sealed.commitment)
    with pytest.raises(CannotOpen):
        unseal(new_key(), "record", sealed.stored, sealed.commitment)
    for damaged in (b"", sealed.stored[:-1], sealed.stored[:5], sealed.stored + b"\0"):
        with pytest.raises(CannotOpen):
            unseal(KEY, "record", damaged, sealed.commitment)


def test_another_body_under_the_right_key_is_not_what_was_committed_to() -> None:
    sealed = seal(AESGCM(KEY), "record", b"body")
    assert sealed.commitment is not None
    forged = encrypt(KEY, bytes(32) + b"another", about="record")
    with pytest.raises(WrongCommitment):
        unseal(KEY, "record", forged, sealed.commitment)


def test_equal_bodies_leave_no_equal_trace() -> None:
    one, two = seal(AESGCM(KEY), "record", b"body"), seal(AESGCM(KEY), "record", b"body")
    assert one.commitment != two.commitment
    assert one.stored != two.stored
    assert one.commitment != sha256(COMMITMENT_TAG + b"body").hexdigest()


def test_a_wrapped_key_opens_for_its_own_owner_only() -> None:
    master = MasterKey(new_key())
    wrapped = master.wrap(KEY, owner="one")
    assert master.unwrap(wrapped, owner="one") == KEY
    with pytest.raises(CannotOpen):
        master.unwrap(wrapped, owner="two")
    with pytest.raises(CannotOpen):
        MasterKey(new_key()).unwrap(wrapped, owner="one")


def test_blinding_depends_on_key_and_purpose() -> None:
    master = MasterKey(new_key())
    assert master.blind("a", "x") == master.blind("a", "x") != master.blind("b", "x")
    assert master.blind("a", "x") != MasterKey(new_key()).blind("a", "x")


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    assert secret_file(path, 32) == secret_file(path, 32)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]
    path.write_bytes(b"short")
    with pytest.raises(KeyUnavailable, match=r"master\.key"):
        secret_file(path, 32)
