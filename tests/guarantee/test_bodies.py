"""What bodies say survives the vault: written canonically, read back the same."""

import types
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from guarantee.bodies import BODY_TYPES, Body, PatientInformed, Recipient
from guarantee.card import Card
from guarantee.identity import Patient
from guarantee.records import RecordType
from tests.guarantee.clinic import CARD, patient

FRACTIONS = {"rate": "1/20"}


def _is_optional(annotation: object) -> bool:
    return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)


def _text(field: FieldInfo) -> st.SearchStrategy[str]:
    patterns = [one.pattern for one in field.metadata if getattr(one, "pattern", None)]
    if patterns:
        return st.from_regex(patterns[0], fullmatch=True)
    # Ten characters at least, no blank at an end, and any script between.
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=50).map(
        "in words: {}.".format
    )


def _value(name: str, field: FieldInfo) -> st.SearchStrategy[Any]:
    kind: Any = field.annotation
    origin = get_origin(kind)
    if _is_optional(kind):
        return st.none()
    if name in FRACTIONS:
        return st.just(FRACTIONS[name])
    if kind is Card:
        return st.just(CARD)
    if kind is Patient:
        return st.integers(0, 99_999).map(patient)
    if kind is str:
        return _text(field)
    if origin is Literal:
        return st.sampled_from(get_args(kind))
    if origin is tuple:
        return _several(get_args(kind)[0])
    if origin is dict:
        return st.dictionaries(st.text("abc-", min_size=1), st.text("0123456789abcdef"))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _bodies(kind)
    if kind is int:
        return st.integers(0, 2**53 - 1)
    if kind is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    return st.from_type(kind)


def _several(kind: object) -> st.SearchStrategy[tuple[Any, ...]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        one: st.SearchStrategy[Any] = _bodies(kind)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        one = st.sampled_from(kind)
    else:
        one = st.text("0123456789abcdef-")
    return st.lists(one, max_size=3).map(tuple)


def _bodies(kind: type[BaseModel]) -> st.SearchStrategy[BaseModel]:
    """Bodies of one kind that leave out all that may be left out."""
    fields = {name: _value(name, field) for name, field in kind.model_fields.items()}
    return st.fixed_dictionaries(fields).map(kind.model_validate)


def test_every_record_has_a_body_of_its_own() -> None:
    assert set(BODY_TYPES) == set(RecordType)


@pytest.mark.parametrize("kind", BODY_TYPES.values(), ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_a_body_without_what_is_optional_is_read_back_as_it_was_written(
    data: st.DataObject, kind: type[Body]
) -> None:
    body = data.draw(_bodies(kind))
    assert isinstance(body, Body)
    encoded = body.encode()
    assert encoded == rfc8785.dumps(body.model_dump(mode="json", exclude_none=True))
    read = kind.model_validate_json(encoded)
    assert read == body
    assert read.encode() == encoded


@given(names=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.just("ab")))
def test_names_of_any_script_are_in_the_order_of_rfc_8785(names: dict[str, str]) -> None:
    body = PatientInformed(recipient=Recipient.PATIENT, leaflet_sha256=names)
    assert body.encode() == rfc8785.dumps(body.model_dump(mode="json", exclude_none=True))
