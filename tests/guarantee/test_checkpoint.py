"""Notes, cosignatures and proofs in the published formats, and their forgeries."""

import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guarantee.checkpoint import (
    COSIGNATURE_ED25519,
    Checkpoint,
    ForgedNote,
    InclusionProof,
    MalformedNote,
    NoteError,
    Signature,
    Signer,
    UnsignedNote,
    VerifierKey,
    parse,
    parse_proof,
    verify,
    verify_cosignature,
    verify_proof,
)
from guarantee.merkle import ProofError, leaf_hash, node_hash

SIGNER = Signer(
    name="garant.example/log", private=Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
)
VKEY = str(SIGNER.verifier_key)
ROOT = sha256(b"root").digest()
NOTE = SIGNER.sign(size=7, root=ROOT)

# The example of the Go checksum database's note package, a published key and note.
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)


def test_a_checkpoint_of_the_log_is_what_its_key_signed() -> None:
    checkpoint = verify(NOTE, VKEY)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (SIGNER.name, 7, ROOT)
    assert parse(NOTE).text == NOTE


def test_the_same_head_is_signed_the_same_way_twice() -> None:
    assert SIGNER.sign(size=7, root=ROOT) == NOTE


def test_a_key_published_by_another_implementation_is_read_and_believed() -> None:
    key = VerifierKey.parse(PETER_VKEY)
    value = base64.b64decode(PETER_SIGNATURE)
    assert str(key) == PETER_VKEY
    assert value[:4] == key.key_id
    signature = Signature(name=key.name, key_id=value[:4], value=value[4:])
    assert key.made(signature, PETER_TEXT.encode())
    assert not key.made(signature, PETER_TEXT.encode() + b"\n")


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(0, 7))
def test_no_note_with_one_bit_flipped_is_verified_as_another(at: int, bit: int) -> None:
    altered = bytearray(NOTE.encode())
    altered[at] ^= 1 << bit
    with pytest.raises(NoteError):
        verify(bytes(altered), VKEY)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        NOTE[:-1],
        NOTE.rstrip("\n"),
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("\n7\n", "\n07\n"),
        NOTE.replace("\n7\n", "\n-7\n"),
        NOTE.replace("\n7\n", "\n٧\n"),
        NOTE.replace("\n7\n", f"\n{1 << 63}\n"),
        NOTE.replace("\n7\n", "\n7\n\n"),
        NOTE.replace("— ", "- "),
        NOTE + "\n",
        NOTE + "x",
        NOTE.encode() + b"\xff",
        "a" * (1 << 21),
    ],
)
def test_what_is_not_a_note_is_malformed(note: str | bytes) -> None:
    with pytest.raises(NoteError):
        verify(note, VKEY)


@pytest.mark.parametrize("text", [None, 7, [], bytearray(b"x"), {}])
def test_what_is_no_text_is_malformed(text: object) -> None:
    for read in (parse, parse_proof):
        with pytest.raises(MalformedNote):
            read(text)  # type: ignore[arg-type]  # whatever a caller sends
    with pytest.raises(MalformedNote):
        verify(NOTE, text)  # type: ignore[arg-type]  # whatever a caller sends


def test_a_signature_in_the_log_s_name_by_another_key_is_no_signature() -> None:
    other = Signer(name=SIGNER.name, private=Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
    with pytest.raises(UnsignedNote):
        verify(other.sign(size=7, root=ROOT), VKEY)


def test_a_false_signature_under_the_key_s_id_is_a_forgery_even_beside_a_true_one() -> None:
    signed = parse(NOTE)
    false = Signature(name=SIGNER.name, key_id=signed.signatures[0].key_id, value=bytes(64))
    both = Checkpoint(origin=SIGNER.name, size=7, root=ROOT, signatures=(*signed.signatures, false))
    with pytest.raises(ForgedNote):
        verify(both.text, VKEY)


def test_a_checkpoint_of_another_log_is_refused_though_the_key_signed_it() -> None:
    body = Checkpoint(origin="another.example/log", size=7, root=ROOT)
    signature = Signature(
        name=SIGNER.name,
        key_id=SIGNER.verifier_key.key_id,
        value=SIGNER.private.sign(body.body.encode()),
    )
    note = Checkpoint(origin=body.origin, size=7, root=ROOT, signatures=(signature,)).text
    with pytest.raises(UnsignedNote, match=r"another\.example"):
        verify(note, VKEY)


def test_signatures_of_unknown_keys_are_ignored() -> None:
    unknown = Signature(name="witness.example", key_id=b"\0\1\2\3", value=b"whatever")
    signed = parse(NOTE)
    note = Checkpoint(
        origin=SIGNER.name, size=7, root=ROOT, signatures=(unknown, *signed.signatures)
    ).text
    assert verify(note, VKEY).size == 7


def cosigned(note: str, key: Ed25519PrivateKey, time: int) -> Checkpoint:
    checkpoint = parse(note)
    message = f"cosignature/v1\ntime {time}\n{checkpoint.body}".encode()
    witness = witness_key(key)
    signature = Signature(
        name=witness.name,
        key_id=witness.key_id,
        value=time.to_bytes(8) + key.sign(message),
    )
    return Checkpoint(
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root,
        signatures=(*checkpoint.signatures, signature),
    )


def witness_key(key: Ed25519PrivateKey) -> VerifierKey:
    return VerifierKey(
        name="witness.example/w1",
        algorithm=COSIGNATURE_ED25519,
        public=key.public_key().public_bytes_raw(),
    )


def test_a_cosignature_holds_for_its_own_checkpoint_only() -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"\x03" * 32)
    checkpoint = cosigned(NOTE, key, 1679315147)
    assert verify_cosignature(parse(checkpoint.text), witness_key(key)) == 1679315147
    moved = Checkpoint(origin=SIGNER.name, size=8, root=ROOT, signatures=checkpoint.signatures[1:])
    with pytest.raises(ForgedNote):
        verify_cosignature(moved, witness_key(key))
    with pytest.raises(UnsignedNote):
        verify_cosignature(parse(NOTE), witness_key(key))


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+00000000+",
        VKEY.replace("+", " "),
        VKEY[:-4],
        "other" + VKEY,
        "a b" + VKEY[len(SIGNER.name) :],
    ],
)
def test_what_is_not_a_vkey_is_malformed(vkey: str) -> None:
    with pytest.raises(MalformedNote):
        VerifierKey.parse(vkey)


def test_a_receipt_proves_its_own_record_only() -> None:
    leaf, sibling = leaf_hash(b"header"), leaf_hash(b"another")
    note = SIGNER.sign(size=2, root=node_hash(leaf, sibling))
    proof = InclusionProof(index=0, path=(sibling,), checkpoint=note, extra=b"\x00")
    assert parse_proof(proof.text) == proof
    assert verify_proof(proof.text, leaf=leaf, verifier_key=VKEY).size == 2
    with pytest.raises(ProofError):
        verify_proof(proof.text, leaf=sibling, verifier_key=VKEY)
    moved = InclusionProof(index=1, path=(sibling,), checkpoint=note)
    with pytest.raises(ProofError):
        verify_proof(moved.text, leaf=leaf, verifier_key=VKEY)


@pytest.mark.parametrize(
    "proof",
    [
        "",
        "c2sp.org/tlog-proof@v2\nindex 0\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 00\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 0\nAA==\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 0\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 0\nextra AA==\n\n" + NOTE,
    ],
)
def test_what_is_not_a_proof_is_malformed(proof: str) -> None:
    with pytest.raises(MalformedNote):
        parse_proof(proof)
