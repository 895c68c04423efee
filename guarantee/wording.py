"""What pydantic finds wrong with a field, in words that help whoever filled it in."""

from collections.abc import Mapping
from typing import Final

_FORMS: Final[Mapping[str, str]] = {
    r"^[0-9a-f]{64}$": "send 64 hexadecimal digits, small letters",
    r"^[0-9]{11}$": "send the 11 digits of an RPPS number",
    r"^[0-9a-f]{32}$": "send 32 hexadecimal digits, small letters",
    r"^[1-9][0-9]{0,5}/[1-9][0-9]{0,5}$": "send a share as 1/20",
    r"^[A-Za-z0-9_-]{43}$": "send a key's thumbprint, 43 letters and digits (RFC 7638)",
    r"^([0-9]{5}|2[AB][0-9]{3})$": "send an INSEE code, as 75101 or 2A004",
}
_QUOTING: Final = frozenset({"union_tag_invalid", "uuid_parsing", "url_parsing", "ip_any_address"})
"""The messages of these quote what was sent."""


def in_words(kind: str, message: str, context: Mapping[str, object]) -> str:
    """What is wrong and what to send instead; never a value, nor a regular expression.

    Args:
        kind: Of pydantic's error, as its `message` and its `context`.
    """
    if kind in _QUOTING:
        return "is not well formed"
    if kind == "extra_forbidden":
        return "is not a field of this body; leave it out"
    if kind == "string_too_short" and context.get("min_length") == 1:
        return "is blank: write it, or leave the field out where it is optional"
    if kind == "string_pattern_mismatch":
        return _FORMS.get(str(context.get("pattern")), "is not of the form that /docs.json shows")
    return message.removeprefix("Value error, ")
