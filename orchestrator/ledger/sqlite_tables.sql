-- The tables of a ledger file: narrow rows that change often, beside specs that are written once.
-- postgres/migrations has the same ones for PostgreSQL.
--
-- Instants and durations are whole microseconds, truth values 0 or 1, words those of the report,
-- lists JSON text. So nothing needs more than integers and text, which every database can hold and
-- JSON can carry without loss.
--
-- A partial index is used only where a statement contains its condition literally.

-- name: facts
-- "format", the version of these tables, and "visit": how often a run was started or resumed.
CREATE TABLE facts (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL DEFAULT 0
)

-- name: runs
CREATE TABLE runs (
    number    INTEGER NOT NULL PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    opened_at INTEGER NOT NULL DEFAULT 0,
    closed_at INTEGER,
    report    TEXT NOT NULL DEFAULT ''
)

-- name: jobs
-- Up to "skipped", a job's place in a run; then its history.
CREATE TABLE jobs (
    id             INTEGER NOT NULL PRIMARY KEY,
    key            TEXT NOT NULL UNIQUE,
    state          TEXT NOT NULL DEFAULT 'planned',
    level          INTEGER NOT NULL DEFAULT 0,
    share          TEXT NOT NULL DEFAULT '',
    seq            INTEGER NOT NULL DEFAULT 0,
    visit          INTEGER NOT NULL DEFAULT 0,
    run_no         INTEGER NOT NULL DEFAULT 0,
    "row"          INTEGER NOT NULL DEFAULT 0,
    skipped        INTEGER NOT NULL DEFAULT 0,
    attempts       INTEGER NOT NULL DEFAULT 0,
    job_id         TEXT NOT NULL DEFAULT '',
    past_job_ids   TEXT NOT NULL DEFAULT '',
    queue_id       TEXT NOT NULL DEFAULT '',
    request_id     TEXT NOT NULL DEFAULT '',
    adopted        INTEGER NOT NULL DEFAULT 0,
    code           TEXT NOT NULL DEFAULT '',
    message        TEXT NOT NULL DEFAULT '',
    not_before     INTEGER NOT NULL DEFAULT 0,
    intent_at      INTEGER,
    submitted_at   INTEGER,
    started_at     INTEGER,
    finished_at    INTEGER,
    media_duration INTEGER,
    files          TEXT NOT NULL DEFAULT ''
)

-- name: specs
-- Apart from the jobs: a run that finds everything done rewrites only the narrow rows.
CREATE TABLE specs (
    id          INTEGER NOT NULL PRIMARY KEY,
    object_hash INTEGER NOT NULL DEFAULT 0,
    spec        TEXT NOT NULL DEFAULT ''
)

-- name: intents
-- One row: the jobs that are about to be sent, as JSON (intents.py).
CREATE TABLE intents (
    id      INTEGER NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL DEFAULT 0,
    jobs    TEXT NOT NULL DEFAULT ''
)

-- name: memory
CREATE TABLE memory (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
)

-- name: lease
-- The process that works on the ledger, for messages; a lock keeps others out (lease.py).
CREATE TABLE lease (
    id      INTEGER NOT NULL PRIMARY KEY,
    token   TEXT NOT NULL DEFAULT '',
    host    TEXT NOT NULL DEFAULT '',
    pid     INTEGER NOT NULL DEFAULT 0,
    since   INTEGER NOT NULL DEFAULT 0,
    command TEXT NOT NULL DEFAULT '',
    seen_at INTEGER NOT NULL DEFAULT 0
)

-- name: jobs_ready
-- The ready queue of each level and share, in its order. Jobs that must wait are passed over, and
-- all are counted, without reading rows. "state" is a column of the partial indexes although it is
-- always the same: without it SQLite reads every row.
CREATE INDEX jobs_ready ON jobs (visit, level, share, seq, not_before, run_no, state)
 WHERE state = 'planned'

-- name: jobs_due
-- The planned jobs that must wait, by instant; most jobs never enter this index.
CREATE INDEX jobs_due ON jobs (visit, not_before, state)
 WHERE state = 'planned' AND not_before > 0

-- name: jobs_in_flight
CREATE INDEX jobs_in_flight ON jobs (state, run_no)
 WHERE state IN ('in_doubt', 'running', 'submitted', 'submitting')

-- name: jobs_by_row
-- The report, in its order, and the counts of jobs that have ended.
CREATE INDEX jobs_by_row ON jobs (run_no, "row", state, skipped)
 WHERE "row" > 0

-- name: specs_by_object
CREATE INDEX specs_by_object ON specs (object_hash)
