"""The catalog's tables. A change here raises SCHEMA, and every catalog is made anew from its journal."""

from sqlalchemy import Boolean, Column, Connection, Index, Integer, MetaData, String, Table

SCHEMA = 3

METADATA = MetaData()
_Word = String(collation="NOCASE")  # q4_k_m finds Q4_K_M

# Every entry that was taken in, whatever it did. The document is kept of labels, intents and sweeps, which have no
# table that holds all of it, and of what is not known; `ends` is the intent that was over with this entry, `keeps` the
# digests that it holds.
ENTRIES = Table(
    "entries",
    METADATA,
    Column("ulid", String, primary_key=True),
    Column("op", String, nullable=False),
    Column("name", String, index=True),
    Column("digest", String),
    Column("document", String),
    Column("ends", String),
    Column("moment", String, nullable=False),
    Column("keeps", String),
    Index("entries_of_a_model", "digest", "op"),
)
# Every put; `live` is the first one of its model since the model was last removed.
PUTS = Table(
    "puts",
    METADATA,
    Column("ulid", String, primary_key=True),
    Column("digest", String, nullable=False, index=True),
    Column("manifest", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("architecture", _Word, index=True),
    Column("quantization", _Word, index=True),
    Column("parameters", Integer),
    Column("context_length", Integer),
    Column("live", Boolean, nullable=False, default=False),
    Index("live_puts", "live", "ulid"),
)
# Where each name points since its last move; nowhere, when it was taken away.
NAMES = Table(
    "names",
    METADATA,
    Column("name", String, primary_key=True),
    Column("digest", String, index=True),
    Column("moment", String, nullable=False),
)
# Labels and annotations; one that was taken away has no value.
NOTES = Table(
    "notes",
    METADATA,
    Column("digest", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String),
    Column("moment", String, nullable=False),
    Index("notes_by_value", "kind", "key", "value"),
)
# Objects of the journal that cannot be read, or not wholly.
SKIPPED = Table("skipped", METADATA, Column("key", String, primary_key=True), Column("reason", String, nullable=False))
# How far the journal was read.
MARKS = Table("marks", METADATA, Column("name", String, primary_key=True), Column("value", String, nullable=False))


def version(connection: Connection) -> int:
    """The schema of the tables that are there; 0 when there are none."""
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def make_tables(connection: Connection) -> None:
    """Make the tables anew, in place of any that are there."""
    found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
    for name in found:
        connection.exec_driver_sql(f'DROP TABLE "{name}"')
    METADATA.create_all(connection)
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")
