"""Checkpoints and proofs as they leave the house: C2SP signed notes, cosignatures, tlog-proofs.

Sources: c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature and tlog-proof.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from guarantee.errors import GuaranteeError
from guarantee.merkle import EMPTY_ROOT, Hash, verify_inclusion

ED25519 = 0x01
COSIGNATURE_ED25519 = 0x04
MOST_NOTE_BYTES = 1 << 20
MOST_SIGNATURES = 100
_PROOF_HEADING = "c2sp.org/tlog-proof@v1"


class NoteError(GuaranteeError):
    """A note cannot be trusted."""


class MalformedNote(NoteError):
    """The text is not in the published format."""


class UnsignedNote(NoteError):
    """No signature of the given key stands under the note."""


class ForgedNote(NoteError):
    """A signature names the given key, and that key did not make it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature line: the key's name, its 4-byte id and what the key signed."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log's head: so many entries, under this root.

    Attributes:
        origin: The log's unique name.
        size: Entries in the log.
        root: 32-byte Merkle root of those entries.
        extensions: Further lines, opaque and covered by the signatures.
        signatures: As they stand in the note, none checked yet.
    """

    origin: str
    size: int
    root: Hash
    extensions: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()

    @property
    def body(self) -> str:
        """The signed text: three lines and the extensions, each with its newline."""
        root = base64.b64encode(self.root).decode()
        return "\n".join((self.origin, str(self.size), root, *self.extensions)) + "\n"

    @property
    def text(self) -> str:
        """The whole note."""
        lines = (
            f"— {signature.name} "
            + base64.b64encode(signature.key_id + signature.value).decode()
            + "\n"
            for signature in self.signatures
        )
        return self.body + "\n" + "".join(lines)


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """The 4 bytes that name a key beside its name. Source: c2sp.org/signed-note."""
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key with the name that it signs under; `str` gives its vkey."""

    name: str
    algorithm: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read a vkey, `name+id+key`.

        Raises:
            MalformedNote: Not a vkey of an Ed25519 log or cosigner.
        """
        name, _, rest = text.strip().partition("+")
        identifier, _, encoded = rest.partition("+")
        key = _decode(encoded, "the verifier key")
        if not _is_key_name(name) or not re.fullmatch(r"[0-9a-f]{8}", identifier):
            raise MalformedNote("a verifier key reads name+8 hexadecimal digits+base64")
        if len(key) != 33 or key[0] not in (ED25519, COSIGNATURE_ED25519):
            raise MalformedNote("only Ed25519 verifier keys are known (types 1 and 4)")
        parsed = cls(name=name, algorithm=key[0], public=key[1:])
        if parsed.key_id.hex() != identifier:
            raise MalformedNote("the verifier key's id does not match its name and key")
        return parsed

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that signature lines carry."""
        return key_id(self.name, self.algorithm, self.public)

    def made(self, signature: Signature, message: bytes) -> bool:
        """Whether this key made `signature` over `message`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature.value, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """The log's own key. Sign only what is durably committed: see `guarantee.ledger`."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half, under the same name."""
        public = self.private.public_key().public_bytes_raw()
        return VerifierKey(name=self.name, algorithm=ED25519, public=public)

    def sign(self, *, size: int, root: Hash) -> str:
        """The note over this head; a function of origin, size and root alone."""
        checkpoint = Checkpoint(origin=self.name, size=size, root=root)
        signature = Signature(
            name=self.name,
            key_id=self.verifier_key.key_id,
            value=self.private.sign(checkpoint.body.encode()),
        )
        return Checkpoint(origin=self.name, size=size, root=root, signatures=(signature,)).text


def parse(text: str | bytes) -> Checkpoint:
    """Read a checkpoint without trusting it yet: see `verify`.

    Raises:
        MalformedNote: The text is not a C2SP checkpoint.
    """
    note = _as_text(text)
    body, gap, signatures = note.rpartition("\n\n")
    if not gap:
        raise MalformedNote("no empty line separates the note's text from its signatures")
    lines = body.split("\n")
    if len(lines) < 3 or not all(lines):
        raise MalformedNote("a checkpoint has at least three lines, none of them empty")
    origin, size, root, *extensions = lines
    return Checkpoint(
        origin=origin,
        size=_count(size, "the size"),
        root=_hash(root, "the root"),
        extensions=tuple(extensions),
        signatures=_parse_signatures(signatures),
    )


def verify(text: str | bytes, verifier_key: VerifierKey | str) -> Checkpoint:
    """Check that the log's key signed this checkpoint, and return what it says.

    Args:
        text: The note.
        verifier_key: The log's vkey; its name must be the checkpoint's origin.

    Raises:
        MalformedNote: The note or the key is not in its format, or the head is impossible.
        UnsignedNote: That key did not sign, or the checkpoint is another log's.
        ForgedNote: A signature in that key's name is false.
    """
    key = VerifierKey.parse(verifier_key) if isinstance(verifier_key, str) else verifier_key
    if not isinstance(key, VerifierKey):
        raise MalformedNote("a verifier key is a vkey's text, or read from one")
    if key.algorithm != ED25519:
        raise MalformedNote("a log's key is of type 1; type 4 is a cosigner's")
    checkpoint = parse(text)
    if checkpoint.origin != key.name:
        raise UnsignedNote(
            f"the checkpoint is of log {checkpoint.origin!r}, the key of {key.name!r}"
        )
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise MalformedNote("a log of no entry has the empty root")
    _verify_signatures(checkpoint, key, lambda _: checkpoint.body.encode())
    return checkpoint


def verify_cosignature(checkpoint: Checkpoint, witness: VerifierKey) -> int:
    """Check a witness's cosignature; returns its time, in seconds since 1970.

    Raises:
        MalformedNote: The key is not a cosigner's, or the signature has no time.
        UnsignedNote: That witness did not cosign.
        ForgedNote: A signature in that witness's name is false.
    """
    if witness.algorithm != COSIGNATURE_ED25519:
        raise MalformedNote("a cosigner's key is of type 4")
    times: list[int] = []

    def message(signature: Signature) -> bytes:
        time = int.from_bytes(signature.value[:8])
        times.append(time)
        return f"cosignature/v1\ntime {time}\n{checkpoint.body}".encode()

    _verify_signatures(checkpoint, witness, message, prefix=8)
    return max(times)


def _verify_signatures(
    checkpoint: Checkpoint,
    key: VerifierKey,
    message_of: Callable[[Signature], bytes],
    prefix: int = 0,
) -> None:
    named = [
        signature
        for signature in checkpoint.signatures
        if signature.name == key.name and signature.key_id == key.key_id
    ]
    if not named:
        raise UnsignedNote(f"no signature of {key.name} with key id {key.key_id.hex()}")
    for signature in named:
        if len(signature.value) != prefix + 64:
            raise ForgedNote(f"the signature of {key.name} has the wrong length")
        bare = Signature(
            name=signature.name, key_id=signature.key_id, value=signature.value[prefix:]
        )
        if not key.made(bare, message_of(signature)):
            raise ForgedNote(f"the signature of {key.name} is not over this checkpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """A tlog-proof: where an entry stands, its path, and the checkpoint that covers it.

    Attributes:
        index: Zero-based position of the entry.
        path: Sibling hashes, leaf level first.
        checkpoint: The signed note, verbatim.
        extra: Opaque bytes that nothing authenticates.
    """

    index: int
    path: tuple[Hash, ...]
    checkpoint: str
    extra: bytes | None = None

    @property
    def text(self) -> str:
        """The proof in its published format."""
        lines = [_PROOF_HEADING]
        if self.extra is not None:
            lines.append("extra " + base64.b64encode(self.extra).decode())
        lines.append(f"index {self.index}")
        lines += (base64.b64encode(sibling).decode() for sibling in self.path)
        return "\n".join(lines) + "\n\n" + self.checkpoint


def parse_proof(text: str | bytes) -> InclusionProof:
    """Read a tlog-proof without trusting it yet: see `verify_proof`.

    Raises:
        MalformedNote: The text is not a C2SP tlog-proof.
    """
    proof, gap, note = _as_text(text).partition("\n\n")
    heading, *lines = proof.split("\n")
    if not gap or heading != _PROOF_HEADING:
        raise MalformedNote(f"a proof starts with {_PROOF_HEADING} and ends with a checkpoint")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = _decode(lines.pop(0).removeprefix("extra "), "the extra data")
    if not lines or not lines[0].startswith("index "):
        raise MalformedNote("the proof names no index")
    index = _count(lines.pop(0).removeprefix("index "), "the index")
    if len(lines) > 63:
        raise MalformedNote("a path has at most 63 hashes")
    return InclusionProof(
        index=index,
        path=tuple(_hash(line, "a hash of the path") for line in lines),
        checkpoint=parse(note).text,
        extra=extra,
    )


def verify_proof(text: str | bytes, *, leaf: Hash, verifier_key: VerifierKey | str) -> Checkpoint:
    """Check that `leaf` stands in the log that signed the proof's checkpoint.

    Args:
        text: A tlog-proof.
        leaf: 32-byte leaf hash of the record's header: `merkle.leaf_hash(header)`.
        verifier_key: The log's key, known beforehand: never the one that came along.

    Raises:
        NoteError: The proof is malformed, or its checkpoint is not signed by that key.
        ProofError: The path does not lead from `leaf` to the checkpoint's root.
    """
    proof = parse_proof(text)
    checkpoint = verify(proof.checkpoint, verifier_key)
    verify_inclusion(
        leaf=leaf,
        index=proof.index,
        size=checkpoint.size,
        path=proof.path,
        root=checkpoint.root,
    )
    return checkpoint


def _as_text(text: str | bytes) -> str:
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise MalformedNote("a note is UTF-8 text") from error
    if not isinstance(text, str):
        raise MalformedNote("a note is text")
    if len(text) > MOST_NOTE_BYTES:
        raise MalformedNote("the note is longer than a mebibyte")
    if any(character < " " and character != "\n" for character in text):
        raise MalformedNote("a note has no control character but newlines")
    return text


def _parse_signatures(text: str) -> tuple[Signature, ...]:
    if not text.endswith("\n"):
        raise MalformedNote("a signature line ends with a newline")
    lines = text[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise MalformedNote(f"a note has at most {MOST_SIGNATURES} signatures")
    signatures = []
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        value = _decode(encoded, "a signature")
        if dash != "—" or not _is_key_name(name) or len(value) < 5:
            raise MalformedNote("a signature line reads: em dash, key name, base64")
        signatures.append(Signature(name=name, key_id=value[:4], value=value[4:]))
    return tuple(signatures)


def _is_key_name(name: str) -> bool:
    return bool(name) and "+" not in name and not re.search(r"\s", name)


def _count(text: str, what: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text, re.ASCII) or int(text) >= 1 << 63:
        raise MalformedNote(f"{what} is not a decimal count without leading zeros")
    return int(text)


def _hash(text: str, what: str) -> Hash:
    value = _decode(text, what)
    if len(value) != len(EMPTY_ROOT):
        raise MalformedNote(f"{what} is not 32 bytes")
    return value


def _decode(text: str, what: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedNote(f"{what} is not base64") from error
    # One text for one value: trailing bits and missing padding are refused.
    if base64.b64encode(value).decode() != text:
        raise MalformedNote(f"{what} is not in canonical base64")
    return value
