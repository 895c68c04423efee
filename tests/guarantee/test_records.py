"""Headers have one canonical form; bodies exist for every type of record."""

import json
import math
from uuid import RFC_4122, UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from guarantee.bodies import BODY_TYPES
from guarantee.identity import Role
from guarantee.protocol import advance
from guarantee.records import (
    HEADER_FIELDS,
    Header,
    Ids,
    MalformedRecord,
    RecordType,
    made_at,
    pack_floats,
    unpack_floats,
)
from guarantee.refusals import ProtocolError
from guarantee.situations import Remembered


def header(**facts: object) -> Header:
    plain = {
        "type": RecordType.MODEL_SUSPENDED,
        "id": Ids().new(1),
        "time": 1,
        "actor": "a",
        "role": Role.MONITOR,
        "outcome": "suspended",
        "vaulted_digest": "00",
    }
    return Header(**{**plain, **facts})  # type: ignore[arg-type]  # facts of any type


def test_every_type_of_record_has_a_body_and_a_rule() -> None:
    assert set(BODY_TYPES) == set(RecordType)
    for kind in RecordType:
        with pytest.raises(ProtocolError):
            advance(header(type=kind, role=Role.INTEGRATOR), Remembered())


def test_a_header_reads_back_as_it_was_written() -> None:
    full = header(dossier="d", follows=("x", "y"), models=("m",), valid_until=5, subject="s")
    for written in (header(), full):
        assert Header.decode(written.encode()) == written
    assert b"dossier" not in header().encode()


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        header().encode() + b" ",
        header().encode().replace(b'"time":1', b'"time":1.0'),
        header().encode().replace(b'"time":1', b'"time":true'),
        header().encode().replace(b'"time":1', b'"time":1,"valid_until":false'),
        header().encode().replace(b'"outcome":"suspended"', b'"outcome":7'),
        header().encode().replace(b'"follows":[]', b'"follows":[7]'),
        header().encode().replace(b'"follows":[]', b'"follows":"abc"'),
        header().encode().replace(b'"follows":[]', b'"follows": []'),
        header().encode().replace(b'"time":1', b'"time":1,"more":2'),
        header().encode().replace(b"ModelSuspended", b"ModelForgotten"),
        header().encode().replace(b'"follows":[]', b'"follows":7'),
        header(version=2).encode(),
        b"[" * 100_000,
    ],
)
def test_bytes_in_another_form_are_no_header(encoded: bytes) -> None:
    with pytest.raises(MalformedRecord):
        Header.decode(encoded)


def test_ids_are_version_7_and_carry_their_time() -> None:
    made = Ids().new(1_700_000_000_000)
    assert int(made.replace("-", "")[:12], 16) == 1_700_000_000_000
    assert made[14] == "7"
    assert made[19] in "89ab"
    assert made_at(made) == 1_700_000_000_000
    assert len({Ids().new(1) for _ in range(1000)}) == 1000


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_numbers_survive_bit_for_bit(values: list[float]) -> None:
    assert list(unpack_floats(pack_floats(values))) == values
    assert json.dumps(pack_floats(values))


def test_a_missing_value_stays_missing() -> None:
    assert math.isnan(unpack_floats(pack_floats([math.nan]))[0])
    with pytest.raises(MalformedRecord):
        unpack_floats("AAA=")
    with pytest.raises(MalformedRecord):
        unpack_floats("?")


def test_ids_of_one_millisecond_follow_each_other_and_none_comes_twice() -> None:
    ids = Ids()
    times = [5] * 1000 + [4, 4, 6]
    made = [ids.new(time) for time in times]
    assert made[:1000] == sorted(set(made[:1000]))
    assert made[1000] < made[1001] < made[0] < made[1002]
    for time, one in zip(times, made, strict=True):
        parsed = UUID(one)
        assert (parsed.version, parsed.variant) == (7, RFC_4122)
        assert parsed.int >> 80 == time


@given(
    st.builds(
        header,
        outcome=st.text(),
        follows=st.lists(st.text()).map(tuple),
        time=st.integers(0, (1 << 53) - 1),
        subject=st.none() | st.text(),
        valid_until=st.none() | st.integers(0, (1 << 53) - 1),
    )
)
def test_the_quick_encoding_of_a_header_is_rfc_8785(written: Header) -> None:
    facts = {
        name: list(value) if isinstance(value, tuple) else value
        for name in HEADER_FIELDS
        if (value := getattr(written, name)) is not None
    }
    assert written.encode() == rfc8785.dumps(facts)
