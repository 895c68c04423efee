"""How the college was founded: whether anything shows that its first members are several people.

Until its three seats are filled, whoever holds tokens for the college appoints; so one holder of
tokens could fill all three. Keys of their own, registered before the last seat was filled, are no
proof that there are three people, but their lack is worth knowing.
"""

from guarantee.college_thread import QUORUM
from guarantee.records import Header, RecordType


class Founding:
    """The appointments up to the one that seated the college, from headers in their order."""

    def __init__(self) -> None:
        self._seats: set[str] = set()
        self._founders: dict[str, str] = {}
        self._keyed: set[str] = set()
        self._seated = False

    def add(self, header: Header) -> None:
        """Take the next header; those of other types, and later ones, change nothing."""
        if self._seated:
            return
        if header.type is RecordType.KEY_REGISTERED:
            self._keyed.add(header.actor)
        elif header.type is RecordType.MEMBER_APPOINTED:
            self._founders[header.subject or ""] = header.actor
            self._seats.add(header.outcome)
            self._seated = self._seats >= QUORUM

    @property
    def words(self) -> str | None:
        """What nothing in the log shows; none where every founder had a key, or there is none."""
        without = [member for member in self._founders if member not in self._keyed]
        if not without:
            return None
        appointers = set(self._founders.values())
        return (
            f"of the {len(self._founders)} who founded the college, appointed by "
            f"{len(appointers)}, {len(without)} had no key of their own by then: nothing here "
            "shows that they are different people"
        )
