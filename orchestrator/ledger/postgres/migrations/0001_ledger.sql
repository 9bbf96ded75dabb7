-- The tables of one ledger; ../../sqlite_tables.sql says what they are for.

CREATE TABLE facts (
    name  text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL DEFAULT 0
);

CREATE TABLE runs (
    number    bigint PRIMARY KEY,
    id        text COLLATE "C" NOT NULL UNIQUE,
    opened_at bigint NOT NULL DEFAULT 0,
    closed_at bigint,
    report    text COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE jobs (
    id             bigint PRIMARY KEY,
    key            text COLLATE "C" NOT NULL UNIQUE,
    state          text COLLATE "C" NOT NULL DEFAULT 'planned',
    level          bigint NOT NULL DEFAULT 0,
    share          text COLLATE "C" NOT NULL DEFAULT '',
    seq            bigint NOT NULL DEFAULT 0,
    visit          bigint NOT NULL DEFAULT 0,
    run_no         bigint NOT NULL DEFAULT 0,
    "row"          bigint NOT NULL DEFAULT 0,
    skipped        bigint NOT NULL DEFAULT 0,
    attempts       bigint NOT NULL DEFAULT 0,
    job_id         text COLLATE "C" NOT NULL DEFAULT '',
    past_job_ids   text COLLATE "C" NOT NULL DEFAULT '',
    queue_id       text COLLATE "C" NOT NULL DEFAULT '',
    request_id     text COLLATE "C" NOT NULL DEFAULT '',
    adopted        bigint NOT NULL DEFAULT 0,
    code           text COLLATE "C" NOT NULL DEFAULT '',
    message        text COLLATE "C" NOT NULL DEFAULT '',
    not_before     bigint NOT NULL DEFAULT 0,
    intent_at      bigint,
    submitted_at   bigint,
    started_at     bigint,
    finished_at    bigint,
    media_duration bigint,
    files          text COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE specs (
    id          bigint PRIMARY KEY,
    object_hash bigint NOT NULL DEFAULT 0,
    spec        text COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE intents (
    id      bigint PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    jobs    text COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE memory (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);

-- One row: who works on the ledger. Instants are of the server's clock, in microseconds.
-- "commits" counts the holder's transactions: after a lost connection it shows if the last one
-- was committed.
CREATE TABLE lease (
    id         bigint PRIMARY KEY,
    token      text COLLATE "C" NOT NULL DEFAULT '',
    host       text COLLATE "C" NOT NULL DEFAULT '',
    pid        bigint NOT NULL DEFAULT 0,
    since      bigint NOT NULL DEFAULT 0,
    command    text COLLATE "C" NOT NULL DEFAULT '',
    seen_at    bigint NOT NULL DEFAULT 0,
    expires_at bigint NOT NULL DEFAULT 0,
    commits    bigint NOT NULL DEFAULT 0
);

CREATE INDEX jobs_ready ON jobs (visit, level, share, seq, not_before, run_no, state)
    WHERE state = 'planned';
CREATE INDEX jobs_due ON jobs (visit, not_before, state)
    WHERE state = 'planned' AND not_before > 0;
CREATE INDEX jobs_in_flight ON jobs (state, run_no)
    WHERE state IN ('in_doubt', 'running', 'submitted', 'submitting');
CREATE INDEX jobs_by_row ON jobs (run_no, "row", state, skipped) WHERE "row" > 0;
CREATE INDEX specs_by_object ON specs (object_hash);

INSERT INTO facts (name, value) VALUES ('visit', 0);
INSERT INTO intents (id) VALUES (1);
INSERT INTO lease (id) VALUES (1);
