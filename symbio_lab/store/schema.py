"""The tables of the store, one migration for each schema version; released migrations never change.

Rules:
    1. A migration is a tuple of SQL statements; migration number ``i`` (from 1) leads to ``user_version`` ``i``.
    2. Append only: a store written by any released version opens and is brought up to date.
"""

from __future__ import annotations

Migration = tuple[str, ...]

DEPLOYMENTS: Migration = (
    """
    CREATE TABLE deployments (
        seq INTEGER PRIMARY KEY,
        deployment_id TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL,
        model_id TEXT NOT NULL,
        stage TEXT NOT NULL,
        record TEXT NOT NULL,
        previous_digest TEXT NOT NULL,
        digest TEXT NOT NULL UNIQUE
    )
    """,
    "CREATE INDEX deployments_by_model ON deployments (tenant, model_id, seq)",
    """
    CREATE TRIGGER deployments_no_update BEFORE UPDATE ON deployments
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
    """,
    """
    CREATE TRIGGER deployments_no_delete BEFORE DELETE ON deployments
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
    """,
)

LEASES: Migration = (
    """
    CREATE TABLE leases (
        name TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        beat_at REAL NOT NULL
    )
    """,
)

PREDICTIONS: Migration = (
    """
    CREATE TABLE streams (
        stream_id INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL,
        model_id TEXT NOT NULL,
        pruned_before_us INTEGER NOT NULL DEFAULT 0,
        UNIQUE (tenant, model_id)
    )
    """,
    # What is the same for thousands of rows stands here once.
    """
    CREATE TABLE prediction_contexts (
        context_id INTEGER PRIMARY KEY,
        stream_id INTEGER NOT NULL,
        task_type TEXT NOT NULL,
        model_revision TEXT NOT NULL,
        redaction TEXT NOT NULL,
        sample_share REAL NOT NULL,
        UNIQUE (stream_id, task_type, model_revision, redaction, sample_share)
    )
    """,
    # AUTOINCREMENT: a cursor must not meet the number of a pruned row again.
    """
    CREATE TABLE predictions (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        stream_id INTEGER NOT NULL,
        context_id INTEGER NOT NULL,
        observed_us INTEGER NOT NULL,
        confidence REAL,
        domain TEXT NOT NULL,
        actual_output TEXT NOT NULL,
        prediction_id TEXT NOT NULL,
        metadata TEXT NOT NULL,
        input_sample TEXT NOT NULL
    )
    """,
    # A table and no index of predictions: a chunk fills it sorted by key, and predictions in order of arrival.
    """
    CREATE TABLE prediction_keys (
        stream_id INTEGER NOT NULL,
        id_key BLOB NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (stream_id, id_key)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX predictions_by_arrival ON predictions (stream_id)",
    "CREATE INDEX predictions_by_time ON predictions (stream_id, observed_us)",
    """
    CREATE TRIGGER predictions_no_update BEFORE UPDATE ON predictions
    BEGIN SELECT RAISE(ABORT, 'predictions are append-only'); END
    """,
    """
    CREATE TABLE labels (
        seq INTEGER PRIMARY KEY,
        expected_output TEXT NOT NULL,
        labelled_us INTEGER NOT NULL
    )
    """,
    """
    CREATE TRIGGER labels_no_update BEFORE UPDATE ON labels
    BEGIN SELECT RAISE(ABORT, 'the first label stays'); END
    """,
    """
    CREATE TABLE early_labels (
        stream_id INTEGER NOT NULL,
        id_key BLOB NOT NULL,
        expected_output TEXT NOT NULL,
        labelled_us INTEGER NOT NULL,
        PRIMARY KEY (stream_id, id_key)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE pruned_counts (
        stream_id INTEGER NOT NULL,
        day INTEGER NOT NULL,
        domain TEXT NOT NULL,
        num_total INTEGER NOT NULL,
        num_labelled INTEGER NOT NULL,
        num_failed INTEGER NOT NULL,
        PRIMARY KEY (stream_id, day, domain)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE failure_reports (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        stream_id INTEGER NOT NULL,
        id_key BLOB NOT NULL,
        observed_us INTEGER NOT NULL,
        record TEXT NOT NULL,
        UNIQUE (stream_id, id_key)
    )
    """,
)

SERVICE: Migration = (
    """
    CREATE TABLE tenants (
        tenant TEXT PRIMARY KEY,
        created_at TEXT NOT NULL,
        policy TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE api_keys (
        key_id TEXT PRIMARY KEY,
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        secret_sha256 BLOB NOT NULL,
        scopes TEXT NOT NULL,
        created_at TEXT NOT NULL,
        expires_at TEXT,
        revoked_at TEXT
    )
    """,
    "CREATE INDEX api_keys_by_tenant ON api_keys (tenant)",
    """
    CREATE TABLE registered_models (
        owner TEXT NOT NULL,
        model_id TEXT NOT NULL,
        source TEXT NOT NULL,
        revision TEXT,
        task_type TEXT NOT NULL,
        digest TEXT NOT NULL,
        created_at TEXT NOT NULL,
        PRIMARY KEY (owner, model_id)
    )
    """,
    """
    CREATE TABLE jobs (
        job_id TEXT PRIMARY KEY,
        tenant TEXT NOT NULL,
        kind TEXT NOT NULL,
        request TEXT NOT NULL,
        state TEXT NOT NULL,
        stage TEXT NOT NULL DEFAULT '',
        created_at TEXT NOT NULL,
        started_at TEXT,
        finished_at TEXT,
        num_attempts INTEGER NOT NULL DEFAULT 0,
        cancel_requested INTEGER NOT NULL DEFAULT 0,
        result TEXT,
        error TEXT
    )
    """,
    "CREATE INDEX jobs_by_tenant ON jobs (tenant, created_at)",
    "CREATE INDEX jobs_open ON jobs (state, created_at) WHERE state IN ('queued', 'running')",
    """
    CREATE TABLE job_events (
        job_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        event TEXT NOT NULL,
        PRIMARY KEY (job_id, seq)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE idempotency_keys (
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        request_digest TEXT NOT NULL,
        created_s REAL NOT NULL,
        status INTEGER,
        response TEXT,
        PRIMARY KEY (tenant, name)
    )
    """,
    """
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL,
        record TEXT NOT NULL,
        previous_digest TEXT NOT NULL,
        digest TEXT NOT NULL UNIQUE
    )
    """,
    "CREATE INDEX audit_by_tenant ON audit (tenant, seq)",
    """
    CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
)

CANDIDATE_TRAFFIC: Migration = (
    """
    CREATE TABLE candidate_counts (
        deployment_id TEXT PRIMARY KEY,
        num_seen INTEGER NOT NULL,
        num_answered INTEGER NOT NULL,
        num_compared INTEGER NOT NULL,
        num_agreed INTEGER NOT NULL,
        num_errors INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    # Answers that have an id, so that a label may find them later.
    """
    CREATE TABLE candidate_answers (
        deployment_id TEXT NOT NULL,
        stream_id INTEGER NOT NULL,
        id_key BLOB NOT NULL,
        live_output TEXT NOT NULL,
        candidate_output TEXT NOT NULL,
        kept_us INTEGER NOT NULL,
        PRIMARY KEY (deployment_id, id_key)
    ) WITHOUT ROWID
    """,
)

COUNT_RECORDS = """
    INSERT INTO usage (tenant, kind, period, amount) SELECT tenant, 'records', '', sum(n) FROM (
        SELECT s.tenant AS tenant, count(*) AS n FROM streams s JOIN predictions p USING (stream_id) GROUP BY s.tenant
        UNION ALL
        SELECT s.tenant, count(*) FROM streams s JOIN failure_reports f USING (stream_id) GROUP BY s.tenant
    ) AS counted GROUP BY tenant
"""
"""What is stored already counts; the same words for both databases."""

QUOTAS: Migration = (
    """
    CREATE TABLE usage (
        tenant TEXT NOT NULL,
        kind TEXT NOT NULL,
        period TEXT NOT NULL,
        amount REAL NOT NULL,
        PRIMARY KEY (tenant, kind, period)
    ) WITHOUT ROWID
    """,
    COUNT_RECORDS,
    # Whose job was begun last: the others come first.
    "CREATE TABLE job_turns (tenant TEXT PRIMARY KEY, turn INTEGER NOT NULL)",
)

LICENCES: Migration = ("ALTER TABLE registered_models ADD COLUMN licence TEXT",)

MIGRATIONS: tuple[Migration, ...] = (DEPLOYMENTS, LEASES, PREDICTIONS, SERVICE, CANDIDATE_TRAFFIC, QUOTAS, LICENCES)
"""All migrations, oldest first."""
