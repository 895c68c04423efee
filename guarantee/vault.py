"""Bodies under a key a patient, keys under a master key, people under random pseudonyms.

AES-256-GCM alone does not bind a ciphertext to one plaintext: two keys can be made to open it.
So a header also commits to its body: SHA-256 over a domain tag, a 32-byte nonce and the bytes.
"""

import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from guarantee.errors import GuaranteeError

COMMITMENT_TAG = b"garant body commitment v1\x00"
NONCE_BYTES = 32
_IV_BYTES = 12


class VaultError(GuaranteeError):
    """A body or a key cannot be opened."""


class KeyUnavailable(VaultError):
    """The master key is missing or has the wrong form."""


class CannotOpen(VaultError):
    """The key does not open these bytes: one of them was altered."""


class KeyAltered(CannotOpen):
    """The master key at hand does not open a stored key: asking again does not help."""


class WrongCommitment(VaultError):
    """The bytes open, but they are not what the header committed to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A body as the vault stores it, and what its header says of it.

    Attributes:
        stored: IV, ciphertext and tag; for a clear body its very bytes.
        digest: SHA-256 of `stored`, hexadecimal.
        commitment: Hexadecimal; none for a clear body, whose digest binds it.
    """

    stored: bytes
    digest: str
    commitment: str | None


def in_clear(body: bytes) -> Sealed:
    """A governance body: stored as it is."""
    return Sealed(stored=body, digest=digest_of(body), commitment=None)


def seal(key: AESGCM, record_id: str, body: bytes) -> Sealed:
    """Encrypt a body for its own record under its patient's key."""
    random = os.urandom(NONCE_BYTES + _IV_BYTES)
    plain, iv = random[:NONCE_BYTES] + body, random[NONCE_BYTES:]
    stored = iv + key.encrypt(iv, plain, record_id.encode())
    commitment = sha256(COMMITMENT_TAG + plain).hexdigest()
    return Sealed(stored=stored, digest=digest_of(stored), commitment=commitment)


def unseal(key: bytes, record_id: str, stored: bytes, commitment: str) -> bytes:
    """Decrypt a body and check that it is the one that the header committed to.

    Raises:
        CannotOpen: The key does not open the bytes for this record.
        WrongCommitment: The bytes are not those that were recorded.
    """
    opened = decrypt(key, stored, about=record_id)
    if not hmac.compare_digest(sha256(COMMITMENT_TAG + opened).hexdigest(), commitment):
        raise WrongCommitment("the body opens, but the header committed to another")
    return opened[NONCE_BYTES:]


def encrypt(key: bytes, plain: bytes, *, about: str) -> bytes:
    """AES-256-GCM with a random IV in front; `about` is authenticated and must be given again."""
    iv = os.urandom(_IV_BYTES)
    return iv + AESGCM(key).encrypt(iv, plain, about.encode())


def decrypt(key: bytes, stored: bytes, *, about: str) -> bytes:
    """Undo `encrypt`.

    Raises:
        CannotOpen: Wrong key, altered bytes, or another thing's bytes.
    """
    try:
        return AESGCM(key).decrypt(stored[:_IV_BYTES], stored[_IV_BYTES:], about.encode())
    except (InvalidTag, ValueError) as error:
        raise CannotOpen("the key does not open these bytes: one of them was altered") from error


def digest_of(stored: bytes) -> str:
    """SHA-256, hexadecimal."""
    return sha256(stored).hexdigest()


def new_key() -> bytes:
    """A random 32-byte key."""
    return secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The key above all others; 32 bytes that never reach the database."""

    secret: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Names the key and does not tell it: 64 hexadecimal characters."""
        return self._derived(b"fingerprint").hex()

    def wrap(self, key: bytes, *, owner: str) -> bytes:
        """Encrypt `key` for storage; it opens again for the same owner only."""
        return encrypt(self._derived(b"wrap"), key, about=owner)

    def unwrap(self, wrapped: bytes, *, owner: str) -> bytes:
        """Undo `wrap`.

        Raises:
            CannotOpen: The wrapped key was altered, or is another owner's.
        """
        return decrypt(self._derived(b"wrap"), wrapped, about=owner)

    def blind(self, purpose: str, text: str) -> bytes:
        """32 bytes to find `text` again without storing it; useless without this key."""
        return hmac.digest(self._derived(b"blind " + purpose.encode()), text.encode(), "sha256")

    def _derived(self, use: bytes) -> bytes:
        return _derive(self.secret, use)


@lru_cache(maxsize=32)
def _derive(secret: bytes, use: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"garant " + use).derive(secret)


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """The secret in `path`, made on first use, readable by its owner alone.

    Two processes that start together agree: the file appears whole, once.
    """
    if not path.exists():
        for folder in (*reversed(path.parent.parents), path.parent):
            folder.mkdir(exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, make())
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            # A link never replaces: whoever comes second takes the first one's secret.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        entry = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
    return path.read_bytes()


def secret_file(path: Path, length: int) -> bytes:
    """The random secret of so many bytes in `path`: see `made_once`.

    Raises:
        KeyUnavailable: The file does not hold `length` bytes.
    """
    secret = made_once(path, lambda: secrets.token_bytes(length))
    if len(secret) != length:
        raise KeyUnavailable(f"{path} does not hold {length} bytes: restore it from a backup")
    return secret


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key whose 32-byte seed is in `path`, made on first use."""
    return Ed25519PrivateKey.from_private_bytes(secret_file(path, 32))
