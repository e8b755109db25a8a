"""The tables of the store on Postgres: the same versions as ``schema.py``, in the words of the server.

Rules:
    1. Version ``i`` here holds the same columns as version ``i`` there; a test compares them.
    2. Texts sort by their bytes (collation ``C``), as in SQLite, whatever language the database was made for.
    3. Append-only tables refuse updates, deletions and TRUNCATE. Who owns a table can still drop the triggers: it is
       the chain of digests that shows it, not the trigger.
    4. Numbers of predictions come from a sequence, which a deletion does not turn back.
"""

from __future__ import annotations

from symbio_lab.store.schema import COUNT_RECORDS, Migration

_TEXT = 'TEXT COLLATE "C"'


def _refusals(table: str, message: str, *events: str) -> Migration:
    made = [
        f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} FOR EACH ROW"
        f" EXECUTE FUNCTION refuse_change('{message}')"
        for event in events
    ]
    made.append(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
        f" EXECUTE FUNCTION refuse_change('{message}')"
    )
    return tuple(made)


DEPLOYMENTS: Migration = (
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$
    """,
    f"""
    CREATE TABLE deployments (
        seq BIGINT PRIMARY KEY,
        deployment_id {_TEXT} NOT NULL UNIQUE,
        tenant {_TEXT} NOT NULL,
        model_id {_TEXT} NOT NULL,
        stage {_TEXT} NOT NULL,
        record {_TEXT} NOT NULL,
        previous_digest {_TEXT} NOT NULL,
        digest {_TEXT} NOT NULL UNIQUE
    )
    """,
    "CREATE INDEX deployments_by_model ON deployments (tenant, model_id, seq)",
    *_refusals("deployments", "the ledger is append-only", "UPDATE", "DELETE"),
)

LEASES: Migration = (
    f"""
    CREATE TABLE leases (
        name {_TEXT} PRIMARY KEY,
        owner {_TEXT} NOT NULL,
        host {_TEXT} NOT NULL,
        pid BIGINT NOT NULL,
        beat_at DOUBLE PRECISION NOT NULL
    )
    """,
)

PREDICTIONS: Migration = (
    f"""
    CREATE TABLE streams (
        stream_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant {_TEXT} NOT NULL,
        model_id {_TEXT} NOT NULL,
        pruned_before_us BIGINT NOT NULL DEFAULT 0,
        UNIQUE (tenant, model_id)
    )
    """,
    f"""
    CREATE TABLE prediction_contexts (
        context_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        stream_id BIGINT NOT NULL,
        task_type {_TEXT} NOT NULL,
        model_revision {_TEXT} NOT NULL,
        redaction {_TEXT} NOT NULL,
        sample_share DOUBLE PRECISION NOT NULL,
        UNIQUE (stream_id, task_type, model_revision, redaction, sample_share)
    )
    """,
    "CREATE SEQUENCE predictions_numbers",
    f"""
    CREATE TABLE predictions (
        seq BIGINT PRIMARY KEY,
        stream_id BIGINT NOT NULL,
        context_id BIGINT NOT NULL,
        observed_us BIGINT NOT NULL,
        confidence DOUBLE PRECISION,
        domain {_TEXT} NOT NULL,
        actual_output {_TEXT} NOT NULL,
        prediction_id {_TEXT} NOT NULL,
        metadata {_TEXT} NOT NULL,
        input_sample {_TEXT} NOT NULL
    )
    """,
    """
    CREATE TABLE prediction_keys (
        stream_id BIGINT NOT NULL,
        id_key BYTEA NOT NULL,
        seq BIGINT NOT NULL,
        PRIMARY KEY (stream_id, id_key)
    )
    """,
    "CREATE INDEX predictions_by_arrival ON predictions (stream_id, seq)",
    "CREATE INDEX predictions_by_time ON predictions (stream_id, observed_us, seq)",
    *_refusals("predictions", "predictions are append-only", "UPDATE"),
    f"""
    CREATE TABLE labels (
        seq BIGINT PRIMARY KEY,
        expected_output {_TEXT} NOT NULL,
        labelled_us BIGINT NOT NULL
    )
    """,
    *_refusals("labels", "the first label stays", "UPDATE"),
    f"""
    CREATE TABLE early_labels (
        stream_id BIGINT NOT NULL,
        id_key BYTEA NOT NULL,
        expected_output {_TEXT} NOT NULL,
        labelled_us BIGINT NOT NULL,
        PRIMARY KEY (stream_id, id_key)
    )
    """,
    f"""
    CREATE TABLE pruned_counts (
        stream_id BIGINT NOT NULL,
        day BIGINT NOT NULL,
        domain {_TEXT} NOT NULL,
        num_total BIGINT NOT NULL,
        num_labelled BIGINT NOT NULL,
        num_failed BIGINT NOT NULL,
        PRIMARY KEY (stream_id, day, domain)
    )
    """,
    f"""
    CREATE TABLE failure_reports (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        stream_id BIGINT NOT NULL,
        id_key BYTEA NOT NULL,
        observed_us BIGINT NOT NULL,
        record {_TEXT} NOT NULL,
        UNIQUE (stream_id, id_key)
    )
    """,
)

SERVICE: Migration = (
    f"""
    CREATE TABLE tenants (
        tenant {_TEXT} PRIMARY KEY,
        created_at {_TEXT} NOT NULL,
        policy {_TEXT} NOT NULL
    )
    """,
    f"""
    CREATE TABLE api_keys (
        key_id {_TEXT} PRIMARY KEY,
        tenant {_TEXT} NOT NULL,
        name {_TEXT} NOT NULL,
        secret_sha256 BYTEA NOT NULL,
        scopes {_TEXT} NOT NULL,
        created_at {_TEXT} NOT NULL,
        expires_at {_TEXT},
        revoked_at {_TEXT}
    )
    """,
    "CREATE INDEX api_keys_by_tenant ON api_keys (tenant)",
    f"""
    CREATE TABLE registered_models (
        owner {_TEXT} NOT NULL,
        model_id {_TEXT} NOT NULL,
        source {_TEXT} NOT NULL,
        revision {_TEXT},
        task_type {_TEXT} NOT NULL,
        digest {_TEXT} NOT NULL,
        created_at {_TEXT} NOT NULL,
        PRIMARY KEY (owner, model_id)
    )
    """,
    f"""
    CREATE TABLE jobs (
        job_id {_TEXT} PRIMARY KEY,
        tenant {_TEXT} NOT NULL,
        kind {_TEXT} NOT NULL,
        request {_TEXT} NOT NULL,
        state {_TEXT} NOT NULL,
        stage {_TEXT} NOT NULL DEFAULT '',
        created_at {_TEXT} NOT NULL,
        started_at {_TEXT},
        finished_at {_TEXT},
        num_attempts INTEGER NOT NULL DEFAULT 0,
        cancel_requested INTEGER NOT NULL DEFAULT 0,
        result {_TEXT},
        error {_TEXT}
    )
    """,
    "CREATE INDEX jobs_by_tenant ON jobs (tenant, created_at)",
    "CREATE INDEX jobs_open ON jobs (state, created_at) WHERE state IN ('queued', 'running')",
    f"""
    CREATE TABLE job_events (
        job_id {_TEXT} NOT NULL,
        seq BIGINT NOT NULL,
        event {_TEXT} NOT NULL,
        PRIMARY KEY (job_id, seq)
    )
    """,
    f"""
    CREATE TABLE idempotency_keys (
        tenant {_TEXT} NOT NULL,
        name {_TEXT} NOT NULL,
        request_digest {_TEXT} NOT NULL,
        created_s DOUBLE PRECISION NOT NULL,
        status INTEGER,
        response {_TEXT},
        PRIMARY KEY (tenant, name)
    )
    """,
    f"""
    CREATE TABLE audit (
        seq BIGINT PRIMARY KEY,
        tenant {_TEXT} NOT NULL,
        record {_TEXT} NOT NULL,
        previous_digest {_TEXT} NOT NULL,
        digest {_TEXT} NOT NULL UNIQUE
    )
    """,
    "CREATE INDEX audit_by_tenant ON audit (tenant, seq)",
    *_refusals("audit", "the audit log is append-only", "UPDATE", "DELETE"),
)

CANDIDATE_TRAFFIC: Migration = (
    f"""
    CREATE TABLE candidate_counts (
        deployment_id {_TEXT} PRIMARY KEY,
        num_seen BIGINT NOT NULL,
        num_answered BIGINT NOT NULL,
        num_compared BIGINT NOT NULL,
        num_agreed BIGINT NOT NULL,
        num_errors BIGINT NOT NULL
    )
    """,
    f"""
    CREATE TABLE candidate_answers (
        deployment_id {_TEXT} NOT NULL,
        stream_id BIGINT NOT NULL,
        id_key BYTEA NOT NULL,
        live_output {_TEXT} NOT NULL,
        candidate_output {_TEXT} NOT NULL,
        kept_us BIGINT NOT NULL,
        PRIMARY KEY (deployment_id, id_key)
    )
    """,
)

QUOTAS: Migration = (
    f"""
    CREATE TABLE usage (
        tenant {_TEXT} NOT NULL,
        kind {_TEXT} NOT NULL,
        period {_TEXT} NOT NULL,
        amount DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (tenant, kind, period)
    )
    """,
    COUNT_RECORDS,
    f"CREATE TABLE job_turns (tenant {_TEXT} PRIMARY KEY, turn BIGINT NOT NULL)",
)

LICENCES: Migration = (f"ALTER TABLE registered_models ADD COLUMN licence {_TEXT}",)

MIGRATIONS: tuple[Migration, ...] = (DEPLOYMENTS, LEASES, PREDICTIONS, SERVICE, CANDIDATE_TRAFFIC, QUOTAS, LICENCES)
"""All migrations, oldest first."""
