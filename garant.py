"""The one door: the command line, made of the packages' commands."""

import sys
from importlib import import_module
from typing import Final, cast

import typer
from typer.core import TyperCommand, TyperGroup

from guarantee.backup_commands import backup_app
from guarantee.commands import say_refused
from serving.commands import app, authenticate
from serving.errors import ServingError


class _Room(TyperGroup):
    """One package's commands, imported when one of them is asked for.

    Imported at once they would take seconds, which `garant --help` has not.
    """

    def __init__(
        self, name: str, words: str, *, module: str, attribute: str, beside: str | None = None
    ) -> None:
        """Commands of one package, and `beside` them those of a module above it."""
        super().__init__(name=name, help=words, no_args_is_help=True)
        self._module = module
        self._attribute = attribute
        self._beside = beside
        self._opened: TyperGroup | None = None

    # The base names typer's own copy of click, which is private to it.

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """The names of its commands."""
        return self._open().list_commands(ctx)

    def get_command(  # type: ignore[override]
        self, ctx: typer.Context, cmd_name: str
    ) -> TyperCommand | None:
        """The command of that name, or None."""
        return cast(TyperCommand | None, self._open().get_command(ctx, cmd_name))

    def _open(self) -> TyperGroup:
        if self._opened is None:
            commands = getattr(import_module(self._module), self._attribute)
            opened = typer.main.get_group(commands)
            if self._beside is not None:
                above = typer.main.get_group(import_module(self._beside).app)
                for name, command in above.commands.items():
                    opened.add_command(command, name)
            self._opened = opened
        return self._opened


_ROOMS: Final = (
    _Room(
        "models",
        "Train, register, promote, suspend and score models.",
        module="models.commands",
        attribute="app",
        beside="monitoring.learning_commands",
    ),
    _Room(
        "college",
        "The college of human guarantee: seats, votes, draws and reviews.",
        module="guarantee.college_commands",
        attribute="college_app",
    ),
    _Room(
        "key",
        "Your own key: make it, register it, sign with it. The house's: rotate it.",
        module="guarantee.key_commands",
        attribute="key_app",
    ),
    _Room(
        "patient",
        "A patient's rights: see, rectify, have erased; and legal holds.",
        module="guarantee.patient_commands",
        attribute="patient_app",
    ),
    _Room(
        "monitor",
        "Watch what models meet and what they answer.",
        module="monitoring.commands",
        attribute="app",
    ),
    _Room(
        "ledger",
        "Verify the log and take proofs from it.",
        module="guarantee.commands",
        attribute="ledger_app",
    ),
)


def main() -> None:
    """Run one command; its context knows how a token is checked."""
    door = typer.main.get_group(app)
    for room in _ROOMS:
        door.add_command(room)
    for name, command in typer.main.get_group(backup_app).commands.items():
        door.add_command(command, name)
    try:
        door(prog_name="garant", obj=authenticate)
    except ServingError as error:
        say_refused(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
