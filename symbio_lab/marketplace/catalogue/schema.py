"""The tables of the catalogue, one migration for each schema version; released migrations never change.

Rules:
    1. A row of ``patches`` is one offered patch of one market under one verdict. A new version or a verdict that
       turns is a new ``row_id``; numbers are never used twice, so an index that lags behind can miss a row but never
       show another one in its place.
    2. Words and labels of accepted and of refused rows lie apart: what was not verified can change neither the
       statistics nor the speed of a search among what was.
    3. The full-text tables keep no text of their own (``content=''``): ``cards`` holds the words once.
    4. Texts that many rows share (bases, keys, licences, labels) are numbered in ``symbols``.
"""

from __future__ import annotations

from symbio_lab.store.schema import Migration

ACCEPTED, REFUSED = 0, 1
"""The two parts that ``terms``, ``parts`` and ``patch_labels`` keep apart."""
TEXT_TABLES = ("accepted_text", "refused_text")
"""Full-text table of each part."""

CATALOGUE: Migration = (
    """
    CREATE TABLE markets (
        market_id INTEGER PRIMARY KEY,
        uri TEXT NOT NULL UNIQUE,
        synced_at TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE TABLE symbols (symbol_id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    # Empty texts and zeros where a manifest cannot be read; problem '' means accepted.
    """
    CREATE TABLE patches (
        row_id INTEGER PRIMARY KEY AUTOINCREMENT,
        market_id INTEGER NOT NULL,
        ref TEXT NOT NULL,
        token TEXT NOT NULL,
        digest BLOB NOT NULL,
        key_id INTEGER NOT NULL,
        rules_id INTEGER NOT NULL,
        seen TEXT NOT NULL,
        level TEXT NOT NULL,
        problem TEXT NOT NULL,
        detail TEXT NOT NULL,
        readable INTEGER NOT NULL,
        base_id INTEGER NOT NULL,
        task_id INTEGER NOT NULL,
        licence_id INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        valid_until TEXT NOT NULL,
        labels TEXT NOT NULL,
        UNIQUE (market_id, ref)
    )
    """,
    # Holds every column that a filter reads, so that counting what fits opens no row.
    """
    CREATE INDEX patches_by_fit
    ON patches (task_id, base_id, problem, valid_until, licence_id, size_bytes, readable, market_id)
    """,
    "CREATE INDEX patches_refused ON patches (readable, task_id, base_id) WHERE problem <> ''",
    "CREATE INDEX patches_by_digest ON patches (digest)",
    "CREATE TABLE envelopes (row_id INTEGER PRIMARY KEY, packed BLOB NOT NULL)",
    "CREATE TABLE cards (row_id INTEGER PRIMARY KEY, words TEXT NOT NULL)",
    """
    CREATE TABLE patch_labels (
        part INTEGER NOT NULL,
        label_id INTEGER NOT NULL,
        row_id INTEGER NOT NULL,
        PRIMARY KEY (part, label_id, row_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE evaluations (
        market_id INTEGER NOT NULL,
        digest BLOB NOT NULL,
        number INTEGER NOT NULL,
        envelope BLOB NOT NULL,
        PRIMARY KEY (market_id, digest, number)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE evaluation_tokens (
        market_id INTEGER NOT NULL,
        digest BLOB NOT NULL,
        token TEXT NOT NULL,
        PRIMARY KEY (market_id, digest)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE terms (
        part INTEGER NOT NULL,
        term TEXT NOT NULL,
        num_rows INTEGER NOT NULL,
        PRIMARY KEY (part, term)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE parts (part INTEGER PRIMARY KEY, num_rows INTEGER NOT NULL, num_words INTEGER NOT NULL)",
    "INSERT INTO parts VALUES (0, 0, 0), (1, 0, 0)",
    # With all detail: without it FTS5 reads the text again to score a row, and here is none to read.
    """
    CREATE VIRTUAL TABLE accepted_text
    USING fts5(words, content='', tokenize='ascii')
    """,
    """
    CREATE VIRTUAL TABLE refused_text
    USING fts5(words, content='', tokenize='ascii')
    """,
    """
    CREATE TABLE vector_sets (
        set_id INTEGER PRIMARY KEY,
        embedder TEXT NOT NULL UNIQUE,
        num_dims INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        num_slots INTEGER NOT NULL,
        num_fitted INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE vectors (
        set_id INTEGER NOT NULL,
        slot INTEGER NOT NULL,
        row_id INTEGER NOT NULL,
        PRIMARY KEY (set_id, slot)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX vectors_by_row ON vectors (row_id, set_id)",
    "CREATE TABLE derived (name TEXT PRIMARY KEY, generation INTEGER NOT NULL, covered INTEGER NOT NULL)",
)

MIGRATIONS: tuple[Migration, ...] = (CATALOGUE,)
"""All migrations of the catalogue, oldest first."""
