"""How the tables came to be what `guarantee.store` says: alembic's revisions, run on opening."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from guarantee.databases import StoreUnavailable

LATEST: Final = "0001"
"""The last revision in `versions`."""


def migrate(connection: Connection) -> None:
    """Bring the tables up to `LATEST`, in the writer's transaction that `connection` is in.

    Raises:
        StoreUnavailable: A later Garant made them.
    """
    stored = None
    if inspect(connection).has_table("alembic_version"):
        stored = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if stored == LATEST:
        return
    # Not above: every other opening does without it.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreUnavailable(
            f"the tables are at revision {stored}, which this Garant does not know: "
            "open them with the later one that made them"
        ) from error
