"""Updates of a learning model: inside the change protocol that the college approved, or not."""

from guarantee.bodies import Difference, Learned, ModelRegistered, ModelUpdated
from guarantee.card import Card, ChangeProtocol


def beyond(protocol: ChangeProtocol, learned: Learned) -> tuple[str, ...]:
    """In words, every bound of the protocol that an update does not keep; none: it may answer."""
    locked, window = learned.locked, learned.window
    problems = []
    if learned.new_cases < protocol.least_new_cases:
        problems.append(f"{learned.new_cases} new cases, {protocol.least_new_cases} needed")
    if locked.cases < protocol.least_locked_cases:
        problems.append(f"{locked.cases} locked cases, {protocol.least_locked_cases} needed")
    if window.cases < protocol.window_cases:
        problems.append(f"{window.cases} cases in the window, {protocol.window_cases} needed")
    if -_gain(locked) > _cases(protocol.most_accuracy_lost, locked):
        problems.append(
            f"on the locked cases {locked.right_after} of {locked.cases} are right, "
            f"{locked.right_before} before: more is lost than {protocol.most_accuracy_lost:.1%}"
        )
    if locked.flipped > _cases(protocol.most_flipped_share, locked):
        problems.append(
            f"{locked.flipped} of {locked.cases} locked cases get another answer: more than "
            f"{protocol.most_flipped_share:.1%}"
        )
    if _gain(window) < _cases(protocol.least_accuracy_gained, window):
        problems.append(
            f"in the window {window.right_after} of {window.cases} are right, "
            f"{window.right_before} before: less is gained than "
            f"{protocol.least_accuracy_gained:.1%}"
        )
    return tuple(problems)


def _gain(difference: Difference) -> int:
    return difference.right_after - difference.right_before


def _cases(share: float, of: Difference) -> float:
    # Rounded, so that 29 of 100 cases are not above a bound of 0.29.
    return round(share * of.cases, 6)


def contradiction(
    said: ModelUpdated, update: ModelRegistered, approved: Card, *, answering: str | None
) -> str | None:
    """Why an update may not take the place of votes, if so.

    Args:
        update: Its registration.
        approved: The card that the college voted on.
        answering: The version that answers when this is said.
    """
    protocol, learned = approved.change_protocol, update.learned
    if protocol is None:
        return "the model does not learn: the college votes on each of its versions"
    if learned is None or (said.new_cases, said.cases_sha256) != (
        learned.new_cases,
        learned.cases_sha256,
    ):
        return "it says otherwise than its registration what it learned from"
    if learned.base != answering:
        return "it was compared with another version than the one that answers"
    known = len(approved.labels)
    added = [label for label in protocol.new_labels if label in update.card.labels[known:]]
    if update.card != approved.model_copy(update={"labels": (*approved.labels, *added)}):
        return "its card is another than the one that the college approved"
    problems = beyond(protocol, learned)
    return "beyond the change protocol: " + "; ".join(problems) if problems else None
