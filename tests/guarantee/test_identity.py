"""INS and RPPS: what their authorities could have issued, and nothing else."""

import pytest
from pydantic import ValidationError

from guarantee.identity import (
    InvalidIdentity,
    Patient,
    check_rpps,
    ins_key,
    professional_number,
)
from tests.guarantee.clinic import patient


def test_the_key_of_a_published_social_security_number() -> None:
    assert ins_key("2550814168025") == "38"


def test_corsica_counts_as_19_and_18() -> None:
    assert ins_key("279022A123456") == f"{97 - 2790219123456 % 97:02d}"
    assert ins_key("279022B123456") == f"{97 - 2790218123456 % 97:02d}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("matricule", "27505751000"),
        ("matricule", "27505751000A1"),
        ("matricule", "275 0575100001"),
        ("key", "00"),
        ("oid", "1.2.250.1.213.1.4.7"),
        ("birth_name", ""),
        ("birth_date", "1975-13-01"),
        ("sex", "X"),
        ("birth_place", "7510"),
        ("qualified", None),
    ],
)
def test_a_malformed_identity_is_refused_without_its_value(field: str, value: object) -> None:
    facts = {**patient().model_dump(mode="json"), field: value}
    with pytest.raises(ValidationError) as refusal:
        Patient.model_validate(facts)
    assert "ZÉNITH" not in str(refusal.value)
    assert "2750575" not in str(refusal.value)


def test_a_test_oid_is_known_as_one() -> None:
    assert patient().is_test


def test_an_rpps_number_follows_luhn_in_production_only() -> None:
    check_rpps("10000000000", luhn=False)
    with pytest.raises(InvalidIdentity, match="last digit"):
        check_rpps("10000000001", luhn=True)
    check_rpps("10000000009", luhn=True)
    with pytest.raises(InvalidIdentity, match="11 digits"):
        check_rpps("1000000000", luhn=False)


def test_subject_name_ids_of_other_types_are_refused_by_name() -> None:
    assert professional_number("899700000001", luhn=False) == "99700000001"
    with pytest.raises(InvalidIdentity, match="ADELI"):
        professional_number("0759900001", luhn=False)
    with pytest.raises(InvalidIdentity, match="unknown"):
        professional_number("", luhn=False)
