"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_POSITION = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make those of the tables that are not there."""
    op.create_table(
        "records",
        sa.Column("position", _POSITION, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("dossier", sa.String(36)),
        sa.Column("model", sa.String(63)),
        sa.Column("header", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    given = sa.text("dossier IS NOT NULL")
    op.create_index(
        "records_by_dossier",
        "records",
        ["dossier"],
        sqlite_where=given,
        postgresql_where=given,
        if_not_exists=True,
    )
    op.create_index("records_by_type", "records", ["type", "model"], if_not_exists=True)
    op.create_table(
        "bodies",
        sa.Column("position", _POSITION, primary_key=True, autoincrement=False),
        sa.Column("key_id", sa.String(36)),
        sa.Column("stored", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "owned",
        sa.Column("key_id", sa.String(36), primary_key=True),
        sa.Column("position", _POSITION, primary_key=True),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "people",
        sa.Column("pseudonym", sa.String(36), primary_key=True),
        sa.Column("lookup", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("stored", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "tiles",
        sa.Column("level", sa.Integer, primary_key=True),
        sa.Column("position", _POSITION, primary_key=True),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "head",
        sa.Column("origin", sa.String(255), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "signed",
        sa.Column("origin", sa.String(255), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "checkpoints",
        sa.Column("position", _POSITION, primary_key=True, autoincrement=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
        sa.Column("timestamp", sa.LargeBinary),
        if_not_exists=True,
    )
    op.create_table(
        "states",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("step", sa.String(32), nullable=False),
        sa.Column("facts", sa.String, nullable=False),
        if_not_exists=True,
    )
    beyond = sa.text("step != 'informed'")
    op.create_index(
        "states_by_step",
        "states",
        ["kind", "step"],
        sqlite_where=beyond,
        postgresql_where=beyond,
        if_not_exists=True,
    )
    op.create_table(
        "requests",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("record_id", sa.String(36), nullable=False),
        if_not_exists=True,
    )


def downgrade() -> None:
    """Refuse: a log is never unmade."""
    raise NotImplementedError("a log is never unmade")
