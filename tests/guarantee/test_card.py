"""What a card must say, and what it cannot."""

import pytest
from pydantic import ValidationError

from guarantee.card import Code, Text
from tests.guarantee.clinic import CARD


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("ICD-O-3", "C34"), ("ICD-O-3", "C34.1"), ("ICD-O-3", "8140/3"),
        ("CIM-10", "C34"), ("CIM-10", "I25.1"), ("CIM-10", "C34.10"), ("CIM-10", "A41.5+0"),
    ],
)  # fmt: skip
def test_a_code_has_the_form_of_its_classification(system: str, code: str) -> None:
    assert Code.model_validate({"system": system, "code": code}).code == code


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("ICD-O-3", "lung"), ("ICD-O-3", "C99.1"), ("ICD-O-3", "I25.1"), ("ICD-O-3", "8140"),
        ("CIM-10", "8140/3"), ("CIM-10", "c34"), ("CIM-10", "C34 "), ("CIM-10", "C3"),
        ("ICD-10", "C34"),
    ],
)  # fmt: skip
def test_a_code_of_another_form_is_refused(system: str, code: str) -> None:
    with pytest.raises(ValidationError):
        Code.model_validate({"system": system, "code": code})


def test_blank_words_say_nothing() -> None:
    with pytest.raises(ValidationError, match="is blank"):
        Text(fr=" \n", en="words")
    card = CARD.model_dump(mode="json")
    card["responsibilities"][0]["holder"] = " "
    with pytest.raises(ValidationError, match="holder"):
        type(CARD).model_validate(card)
