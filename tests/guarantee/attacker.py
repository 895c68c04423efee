"""Whoever holds the database, and may rewrite all of it: rows, tiles, head and states.

What they lack is the log's key, unless a test says that they have it.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from sqlalchemy import delete, insert, select, update

from guarantee.appending import write_tiles
from guarantee.checkpoint import Signer
from guarantee.home import Home
from guarantee.ledger import origin_of
from guarantee.merkle import leaf_hash
from guarantee.pen import KEPT_FILE
from guarantee.protocol import advance
from guarantee.records import Header
from guarantee.refusals import ProtocolError
from guarantee.state import StoredState
from guarantee.store import BODIES, HEAD, KEYS, RECORDS, SIGNED, STATES, TILES, Reader, Store
from guarantee.tiles import Edge
from guarantee.vault import COMMITMENT_TAG, MasterKey, secret_file, signing_key


@dataclass(frozen=True)
class Row:
    header: Header
    key_id: str | None
    stored: bytes | None

    def with_body(self, stored: bytes, commitment: str | None = None) -> "Row":
        """The same record with another body, its digest replaced together with it."""
        header = replace(
            self.header,
            vaulted_digest=sha256(stored).hexdigest(),
            commitment=commitment or self.header.commitment,
        )
        return replace(self, header=header, stored=stored)


Change = Callable[[list[Row]], list[Row]]


def rewrite(home: Home, change: Change, *, signer: Ed25519PrivateKey | None = None) -> None:
    """Replace the log by another that is consistent in itself.

    Args:
        signer: Signs the new head; without one the old checkpoint stays.
    """
    store = Store(home.database)
    try:
        with store.writing() as connection:
            rows = [
                Row(Header.decode(row.header), row.key_id, row.stored)
                for row in connection.execute(
                    select(RECORDS.c.header, BODIES.c.key_id, BODIES.c.stored)
                    .join(BODIES, BODIES.c.position == RECORDS.c.position, isouter=True)
                    .order_by(RECORDS.c.position)
                )
            ]
            for table in (RECORDS, BODIES, TILES, STATES):
                connection.execute(delete(table))
            state, edge = StoredState(connection), Edge.load(0, lambda _level, _index: b"")
            for position, row in enumerate(change(rows)):
                header = row.header
                with suppress(ProtocolError):
                    advance(header, state)
                edge.append(leaf_hash(header.encode()))
                connection.execute(
                    insert(RECORDS).values(
                        position=position,
                        id=header.id,
                        type=header.type,
                        dossier=header.dossier,
                        model=header.model,
                        header=header.encode(),
                    )
                )
                if row.stored is not None:
                    connection.execute(
                        insert(BODIES).values(
                            position=position, key_id=row.key_id, stored=row.stored
                        )
                    )
            state.flush()
            write_tiles(connection, edge)
            size, root = edge.frontier.size, edge.frontier.root
            connection.execute(update(HEAD).values(size=size, root=root))
            if signer is not None:
                name = origin_of(signer)
                note = Signer(name=name, private=signer).sign(size=size, root=root).encode()
                # Who holds the log's key holds what lies beside it.
                (home.keys / KEPT_FILE).write_bytes(note)
                connection.execute(update(HEAD).values(origin=name))
                connection.execute(update(SIGNED).values(origin=name, size=size, note=note))
    finally:
        store.close()


def log_key(home: Home) -> Ed25519PrivateKey:
    return signing_key(home.keys / "ledger.key")


def master_key(home: Home) -> MasterKey:
    return MasterKey(secret_file(home.keys / "master.key", 32))


def patient_key(home: Home, key_id: str) -> bytes:
    store = Reader.open(home.database)
    with store.reading() as connection:
        wrapped = connection.scalar(select(KEYS.c.wrapped).where(KEYS.c.id == key_id))
    store.close()
    assert wrapped is not None
    return master_key(home).unwrap(wrapped, owner=key_id)


def commitment_to(opening: bytes) -> str:
    return sha256(COMMITMENT_TAG + opening).hexdigest()


# AES-GCM commits to no key: one ciphertext and tag that open under two.


def opens_under_two_keys(
    first: bytes, second: bytes, *, plain: bytes, about: bytes, iv: bytes
) -> bytes:
    """IV, ciphertext and tag that both keys open; under the first, to `plain` but for a block.

    The second block of the plaintext, which falls into the nonce of a body, is what makes the
    two tags equal: GHASH is linear in it.

    Source: Y. Dodis, P. Grubbs, T. Ristenpart, J. Woodage, "Fast Message Franking: From Invisible
    Salamanders to Encryptment", CRYPTO 2018, section 3.
    """
    length = len(plain)
    blocks = -(-length // 16)
    stream = b"".join(_aes(first, iv + (2 + place).to_bytes(4)) for place in range(blocks))
    cipher = bytearray(a ^ b for a, b in zip(plain, stream, strict=False))
    cipher[16:32] = bytes(16)
    padded = [
        *_blocks(about),
        *_blocks(bytes(cipher)),
        (len(about) * 8 << 64 | length * 8),
    ]
    free = len(_blocks(about)) + 1
    hashes = [int.from_bytes(_aes(key, bytes(16))) for key in (first, second)]
    masks = [int.from_bytes(_aes(key, iv + (1).to_bytes(4))) for key in (first, second)]
    total = masks[0] ^ masks[1] ^ _ghash(padded, hashes[0]) ^ _ghash(padded, hashes[1])
    exponent = len(padded) - free
    weight = _power(hashes[0], exponent) ^ _power(hashes[1], exponent)
    solved = _times(total, _power(weight, (1 << 128) - 2))
    cipher[16:32] = solved.to_bytes(16)
    padded[free] = solved
    tag = (_ghash(padded, hashes[0]) ^ masks[0]).to_bytes(16)
    return iv + bytes(cipher) + tag


def _aes(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(AES(key), ECB()).encryptor()  # noqa: S305  # GCM's own building block
    return encryptor.update(block) + encryptor.finalize()


def _blocks(text: bytes) -> list[int]:
    return [int.from_bytes(text[at : at + 16].ljust(16, b"\0")) for at in range(0, len(text), 16)]


def _times(one: int, other: int) -> int:
    """In GF(2^128), with GCM's order of bits. Source: NIST SP 800-38D, section 6.3."""
    product = 0
    for bit in range(127, -1, -1):
        if one >> bit & 1:
            product ^= other
        other = other >> 1 ^ (0xE1 << 120 if other & 1 else 0)
    return product


def _power(base: int, exponent: int) -> int:
    result = 1 << 127
    while exponent:
        if exponent & 1:
            result = _times(result, base)
        base, exponent = _times(base, base), exponent >> 1
    return result


def _ghash(blocks: list[int], key: int) -> int:
    state = 0
    for block in blocks:
        state = _times(state ^ block, key)
    return state


def as_vector(**values: bytes) -> str:
    return json.dumps({name: value.hex() for name, value in values.items()}, indent=1) + "\n"
