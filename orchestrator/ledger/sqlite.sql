-- The statements of a ledger, for SQLite; postgres/statements.sql has the same ones for PostgreSQL.
--
-- "-- name:" starts a statement; named_queries.py loads them, without the comments.
--
-- Every answer is one JSON text. Each statement is one step for the driver, whatever the number of
-- rows: many rows go in as one JSON text (:rows, a list per row) and come out as one. The driver
-- gives up the interpreter's lock at every step and must win it back from a busy event loop, which
-- can take milliseconds. A thousand rows that are fetched one by one can take a second
-- (scripts/bench_ledger.py).
--
-- A JSON text ends at a NUL character here, so a NUL comes as the character :nul, if there is any.
--
-- A unary + keeps SQLite from using an index on that column. A partial index is used only where the
-- statement contains its condition literally: state = 'planned', row > 0, not_before > 0.


-- ===== Runs

-- name: begin_visit
UPDATE facts SET value = value + 1 WHERE name = 'visit'

-- name: visit
SELECT json_array(value) FROM facts WHERE name = 'visit'

-- name: run_numbers
SELECT json_group_array(number) FROM runs WHERE id = :id

-- name: insert_run
INSERT INTO runs (number, id, opened_at, report) VALUES (:number, :id, :opened_at, :report)

-- name: latest_runs
SELECT json_group_array(json_array(id, number, opened_at, report, closed_at))
  FROM (SELECT id, number, opened_at, report, closed_at FROM runs ORDER BY number DESC LIMIT :limit)

-- name: end_run
UPDATE runs SET closed_at = :closed_at WHERE number = :run

-- name: planned_job
-- One open job of a run: a planned one, here, or one in flight.
SELECT json_group_array(json_array(key, state))
  FROM (SELECT key, state FROM jobs WHERE run_no = :run AND state = 'planned' LIMIT 1)

-- name: job_in_flight
SELECT json_group_array(json_array(key, state))
  FROM (SELECT key, state
          FROM jobs
         WHERE run_no = :run AND state IN ('in_doubt', 'running', 'submitted', 'submitting')
         LIMIT 1)

-- name: last_numbers
-- The last id of a job, and the last row of a run's report.
SELECT json_array(coalesce((SELECT max(id) FROM jobs), 0),
                  coalesce((SELECT max(row) FROM jobs WHERE run_no = :run AND row > 0), 0))


-- ===== New jobs, and the place of known jobs in a run

-- name: insert_jobs
INSERT INTO jobs (id, key, level, share, seq, visit, run_no)
SELECT json_extract(value, '$[0]'),
       json_extract(value, '$[1]'),
       json_extract(value, '$[2]'),
       replace(json_extract(value, '$[3]'), :nul, char(0)),
       json_extract(value, '$[4]'),
       json_extract(value, '$[5]'),
       json_extract(value, '$[6]')
  FROM json_each(:rows)

-- name: insert_specs
INSERT INTO specs (id, object_hash, spec)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
  FROM json_each(:rows)

-- name: known_jobs
-- The spec is the big part and rarely changes: it is returned only if it is not the offered one.
SELECT json_group_array(json_array(
           jobs.id, jobs.key, jobs.state, jobs.seq, jobs.attempts, jobs.job_id, jobs.past_job_ids,
           jobs.queue_id, jobs.request_id, jobs.adopted, jobs.code, jobs.message, jobs.not_before,
           jobs.intent_at, jobs.submitted_at, jobs.started_at, jobs.finished_at,
           jobs.media_duration, jobs.files, jobs.run_no, jobs.row, jobs.skipped,
           json(nullif(specs.spec, json_extract(offered.value, '$[1]'))), jobs.visit))
  FROM json_each(:rows) AS offered
  JOIN jobs ON jobs.key = json_extract(offered.value, '$[0]')
  JOIN specs ON specs.id = jobs.id

-- name: place_jobs
UPDATE jobs
   SET visit = given.visit, seq = given.seq, run_no = given.run_no, row = given.row,
       skipped = given.skipped
  FROM (SELECT json_extract(value, '$[0]') AS id,
               json_extract(value, '$[1]') AS visit,
               json_extract(value, '$[2]') AS seq,
               json_extract(value, '$[3]') AS run_no,
               json_extract(value, '$[4]') AS row,
               json_extract(value, '$[5]') AS skipped
          FROM json_each(:rows)) AS given
 WHERE jobs.id = given.id

-- name: set_lanes
UPDATE jobs
   SET level = given.level, share = given.share
  FROM (SELECT json_extract(value, '$[0]') AS id,
               json_extract(value, '$[1]') AS level,
               replace(json_extract(value, '$[2]'), :nul, char(0)) AS share
          FROM json_each(:rows)) AS given
 WHERE jobs.id = given.id

-- name: set_specs
UPDATE specs
   SET spec = given.spec
  FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS spec
          FROM json_each(:rows)) AS given
 WHERE specs.id = given.id

-- name: unseen_visits
-- Planned jobs that this start of the run has not seen, here and in the next statements.
SELECT json_group_array(visit)
  FROM (SELECT DISTINCT visit FROM jobs WHERE state = 'planned' AND visit < :visit)

-- name: unseen_ids
-- Those of one visit, in the order of the index: reading page by page reads no row twice.
SELECT json_group_array(id)
  FROM (SELECT id
          FROM jobs
         WHERE state = 'planned' AND visit = :visit
         ORDER BY level, share, seq
         LIMIT :limit)

-- name: leave_unseen
-- What an earlier run left is not written again.
UPDATE jobs
   SET run_no = 0, row = 0, skipped = 0
 WHERE state = 'planned' AND visit < :visit AND run_no <> 0
   AND NOT (run_no = :run AND +row > 0)

-- name: cancel_left
UPDATE jobs
   SET state = 'cancelled', message = :message, finished_at = :now, run_no = 0, skipped = 0
 WHERE id IN (SELECT value FROM json_each(:ids)) AND +state = 'planned' AND +row = 0
   AND +visit NOT IN (SELECT value FROM json_each(:besides))

-- name: drop_reported
-- Those that have a row in the run's report already.
UPDATE jobs
   SET state = 'cancelled', message = :message, finished_at = :now, skipped = 0
 WHERE state = 'planned' AND visit < :visit AND +run_no = :run AND +row > 0
   AND +visit IN (SELECT value FROM json_each(:visits))

-- name: drop_unseen
-- The others get the next rows, in the order of their ids.
UPDATE jobs
   SET state = 'cancelled', message = :message, finished_at = :now, skipped = 0,
       run_no = :run, row = :last_row + unseen.turn
  FROM (SELECT id, row_number() OVER (ORDER BY +id) AS turn
          FROM jobs
         WHERE state = 'planned' AND visit < :visit
           AND +visit IN (SELECT value FROM json_each(:visits))) AS unseen
 WHERE jobs.id = unseen.id


-- ===== Saving

-- name: save_sent
-- A new job that was sent and accepted. Most answers are of this kind, and the columns that cannot
-- have changed are left out: they are most of the work of "save".
UPDATE jobs
   SET state = given.state, attempts = given.attempts, job_id = given.job_id,
       queue_id = given.queue_id, request_id = given.request_id, intent_at = given.intent_at,
       submitted_at = given.submitted_at
  FROM (SELECT json_extract(value, '$[0]') AS id,
               json_extract(value, '$[1]') AS saved_state,
               json_extract(value, '$[2]') AS state,
               json_extract(value, '$[3]') AS attempts,
               replace(json_extract(value, '$[4]'), :nul, char(0)) AS job_id,
               replace(json_extract(value, '$[5]'), :nul, char(0)) AS queue_id,
               replace(json_extract(value, '$[6]'), :nul, char(0)) AS request_id,
               json_extract(value, '$[7]') AS intent_at,
               json_extract(value, '$[8]') AS submitted_at
          FROM json_each(:rows)) AS given
 WHERE jobs.id = given.id AND +jobs.state = given.saved_state

-- name: save
UPDATE jobs
   SET state = given.state, attempts = given.attempts, job_id = given.job_id,
       queue_id = given.queue_id, request_id = given.request_id, intent_at = given.intent_at,
       submitted_at = given.submitted_at, past_job_ids = given.past_job_ids,
       adopted = given.adopted, code = given.code, message = given.message,
       not_before = given.not_before, started_at = given.started_at,
       finished_at = given.finished_at, media_duration = given.media_duration,
       files = given.files, run_no = given.run_no, row = given.row, skipped = given.skipped
  FROM (SELECT json_extract(value, '$[0]') AS id,
               json_extract(value, '$[1]') AS saved_state,
               json_extract(value, '$[2]') AS state,
               json_extract(value, '$[3]') AS attempts,
               replace(json_extract(value, '$[4]'), :nul, char(0)) AS job_id,
               replace(json_extract(value, '$[5]'), :nul, char(0)) AS queue_id,
               replace(json_extract(value, '$[6]'), :nul, char(0)) AS request_id,
               json_extract(value, '$[7]') AS intent_at,
               json_extract(value, '$[8]') AS submitted_at,
               json_extract(value, '$[9]') AS past_job_ids,
               json_extract(value, '$[10]') AS adopted,
               replace(json_extract(value, '$[11]'), :nul, char(0)) AS code,
               replace(json_extract(value, '$[12]'), :nul, char(0)) AS message,
               json_extract(value, '$[13]') AS not_before,
               json_extract(value, '$[14]') AS started_at,
               json_extract(value, '$[15]') AS finished_at,
               json_extract(value, '$[16]') AS media_duration,
               json_extract(value, '$[17]') AS files,
               json_extract(value, '$[18]') AS run_no,
               json_extract(value, '$[19]') AS row,
               json_extract(value, '$[20]') AS skipped
          FROM json_each(:rows)) AS given
 WHERE jobs.id = given.id AND +jobs.state = given.saved_state

-- name: states
-- The state of one job, or nothing.
SELECT json_group_array(state) FROM jobs WHERE id = :id


-- ===== Intents

-- name: intents
SELECT CASE jobs WHEN '' THEN '[]' ELSE jobs END FROM intents

-- name: intents_version
SELECT json_array(version) FROM intents

-- name: set_intents_version
UPDATE intents SET version = :version

-- name: write_intents
-- Changes nothing if another process holds the lease, or if a job that was added is not planned.
UPDATE intents
   SET jobs = :intents
 WHERE version = :version
   AND :added_count = (SELECT count(*)
                         FROM jobs
                        WHERE id IN (SELECT value FROM json_each(:added)) AND +state = 'planned')

-- name: submit_jobs
-- Intents into the rows of their jobs.
UPDATE jobs
   SET state = 'submitting', attempts = given.attempts, intent_at = given.intent_at
  FROM (SELECT json_extract(value, '$[0]') AS id,
               json_extract(value, '$[1]') AS attempts,
               json_extract(value, '$[2]') AS intent_at
          FROM json_each(:rows)) AS given
 WHERE jobs.id = given.id AND +jobs.state = 'planned'

-- name: keys_not_planned
SELECT json_group_array(key)
  FROM jobs
 WHERE id IN (SELECT value FROM json_each(:ids)) AND +state <> 'planned'


-- ===== Small values that are kept between runs, and the holder of the lease

-- name: remember
INSERT INTO memory (name, value) VALUES (:key, :value)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: recall
SELECT json_group_array(hex(value)) FROM memory WHERE name = :key

-- name: note_holder
INSERT INTO lease (id, token, host, pid, since, command, seen_at)
VALUES (1, :token, :host, :pid, :since, :command, :since)
    ON CONFLICT (id) DO UPDATE
   SET token = excluded.token, host = excluded.host, pid = excluded.pid, since = excluded.since,
       command = excluded.command, seen_at = excluded.seen_at

-- name: note_heartbeat
UPDATE lease SET seen_at = :seen_at WHERE token = :token

-- name: noted_holder
SELECT json_group_array(json_array(host, pid, since, command)) FROM lease

-- name: forget_holder
DELETE FROM lease WHERE token = :token


-- ===== Questions. They give ids; "jobs" reads the jobs with these ids. No order is promised.

-- name: jobs
SELECT json_group_array(json_array(
           jobs.id, jobs.key, jobs.state, jobs.seq, jobs.attempts, jobs.job_id, jobs.past_job_ids,
           jobs.queue_id, jobs.request_id, jobs.adopted, jobs.code, jobs.message, jobs.not_before,
           jobs.intent_at, jobs.submitted_at, jobs.started_at, jobs.finished_at,
           jobs.media_duration, jobs.files, jobs.run_no, jobs.row, jobs.skipped, json(specs.spec)))
  FROM json_each(:ids) AS wanted
  JOIN jobs ON jobs.id = wanted.value
  JOIN specs ON specs.id = jobs.id

-- name: ids_by_key
SELECT json_group_array(jobs.id)
  FROM json_each(:keys) AS wanted
  JOIN jobs ON jobs.key = wanted.value

-- name: ready_ids
-- "+ 0": otherwise SQLite takes the index by instant, and sorts all jobs that are due.
SELECT json_group_array(json_array(id, seq))
  FROM (SELECT id, seq
          FROM jobs
         WHERE state = 'planned' AND visit = :visit AND level = :level AND share = :share
           AND not_before + 0 <= :now
         ORDER BY seq
         LIMIT :limit)

-- name: ready_at_once
SELECT json_group_array(json_array(id, not_before))
  FROM (SELECT id, not_before
          FROM jobs
         WHERE state = 'planned' AND visit = :visit AND not_before <= 0
         LIMIT :limit)

-- name: ready_later
SELECT json_group_array(json_array(id, not_before))
  FROM (SELECT id, not_before
          FROM jobs
         WHERE state = 'planned' AND visit = :visit AND not_before > 0
         ORDER BY not_before
         LIMIT :limit)

-- name: ready_ids_elsewhere
-- The three above, without the jobs whose media objects lie in certain places: their specs begin
-- with one of the texts in :closed.
WITH closed AS MATERIALIZED (SELECT value AS start FROM json_each(:closed))
SELECT json_group_array(json_array(id, seq))
  FROM (SELECT jobs.id, jobs.seq
          FROM jobs CROSS JOIN specs ON specs.id = jobs.id
         WHERE jobs.state = 'planned' AND jobs.visit = :visit AND jobs.level = :level
           AND jobs.share = :share AND jobs.not_before + 0 <= :now
           AND NOT EXISTS (SELECT 1
                             FROM closed
                            WHERE substr(specs.spec, 1, length(closed.start)) = closed.start)
         ORDER BY jobs.seq
         LIMIT :limit)

-- name: ready_at_once_elsewhere
WITH closed AS MATERIALIZED (SELECT value AS start FROM json_each(:closed))
SELECT json_group_array(json_array(id, not_before))
  FROM (SELECT jobs.id, jobs.not_before
          FROM jobs CROSS JOIN specs ON specs.id = jobs.id
         WHERE jobs.state = 'planned' AND jobs.visit = :visit AND jobs.not_before <= 0
           AND NOT EXISTS (SELECT 1
                             FROM closed
                            WHERE substr(specs.spec, 1, length(closed.start)) = closed.start)
         LIMIT :limit)

-- name: ready_later_elsewhere
WITH closed AS MATERIALIZED (SELECT value AS start FROM json_each(:closed))
SELECT json_group_array(json_array(id, not_before))
  FROM (SELECT jobs.id, jobs.not_before
          FROM jobs CROSS JOIN specs ON specs.id = jobs.id
         WHERE jobs.state = 'planned' AND jobs.visit = :visit AND jobs.not_before > 0
           AND NOT EXISTS (SELECT 1
                             FROM closed
                            WHERE substr(specs.spec, 1, length(closed.start)) = closed.start)
         ORDER BY jobs.not_before
         LIMIT :limit)

-- name: ids_in_flight
SELECT json_group_array(id)
  FROM (SELECT id
          FROM jobs
         WHERE state IN ('in_doubt', 'running', 'submitted', 'submitting')
           AND +state IN (SELECT value FROM json_each(:states)) AND id > :after_id
         ORDER BY id
         LIMIT :limit)

-- name: ids_in_states
-- A planned job with an intent counts as submitting.
SELECT json_group_array(id)
  FROM (SELECT id
          FROM jobs
         WHERE id > :after_id
           AND CASE WHEN +state = 'planned' AND id IN (SELECT value FROM json_each(:intended))
                    THEN 'submitting'
                    ELSE state
               END IN (SELECT value FROM json_each(:states))
         ORDER BY id
         LIMIT :limit)

-- name: reported_ids
-- The bound comes before "row > 0": SQLite starts at the first one, and would pass over all rows
-- before :after_row.
SELECT json_group_array(id)
  FROM (SELECT id
          FROM jobs
         WHERE run_no = :run AND row > :after_row AND row > 0
         ORDER BY row
         LIMIT :limit)

-- name: same_hash
SELECT json_group_array(json_array(jobs.key, json(specs.spec)))
  FROM json_each(:hashes) AS wanted
  JOIN specs ON specs.object_hash = wanted.value
  JOIN jobs ON jobs.id = specs.id

-- name: counts
-- Three small indexes, not a million rows.
SELECT json_array(
    (SELECT json_array(count(*) FILTER (WHERE run_no = :run), count(*) FILTER (WHERE run_no = 0))
       FROM jobs
      WHERE state = 'planned'),
    (SELECT json_group_array(json_array(state, number))
       FROM (SELECT state, count(*) AS number
               FROM jobs
              WHERE state IN ('in_doubt', 'running', 'submitted', 'submitting') AND run_no = :run
              GROUP BY state)),
    (SELECT json_object(
                'skipped', count(*) FILTER (WHERE state = 'succeeded' AND skipped = 1),
                'succeeded', count(*) FILTER (WHERE state = 'succeeded' AND skipped = 0),
                'failed', count(*) FILTER (WHERE state = 'failed'),
                'cancelled', count(*) FILTER (WHERE state = 'cancelled'),
                'rejected', count(*) FILTER (WHERE state = 'rejected'),
                'unfinished', count(*) FILTER (WHERE state = 'unfinished'))
       FROM jobs
      WHERE run_no = :run AND row > 0),
    (SELECT count(*)
       FROM jobs
      WHERE id IN (SELECT value FROM json_each(:intended)) AND run_no = :run))

-- name: usage
-- A spec is JSON by position (spec_json.py). The suffix of a name is what follows its last dot.
-- rtrim leaves the name up to that dot when every other character is cut from its end. A slash
-- after the last dot means that only a folder has one.
SELECT json_group_array(json_array(
           level, source, state, code, stems, suffix, jobs, media_s, unmeasured, given_s,
           sized_bytes, unsized))
  FROM (SELECT level, source, state, code, stems, suffix,
               count(*) AS jobs,
               round(total(coalesce(media_duration / 1000000.0, length_s)), 3) AS media_s,
               count(*) FILTER (WHERE media_duration IS NULL AND length_s IS NULL) AS unmeasured,
               round(total(length_s), 3) AS given_s,
               coalesce(sum(size_bytes) FILTER (WHERE length_s IS NULL), 0) AS sized_bytes,
               count(*) FILTER (WHERE length_s IS NULL AND size_bytes IS NULL) AS unsized
          FROM (SELECT jobs.level, jobs.state, jobs.code, jobs.media_duration,
                       json_extract(spec, '$[9][2]') AS source,
                       json_extract(spec, '$[0][4]') AS size_bytes,
                       json_extract(spec, '$[0][5]') AS length_s,
                       (json_extract(spec, '$[3][0]') <> '') + (json_extract(spec, '$[3][1]') <> '')
                       + (json_extract(spec, '$[3][2]') <> '')
                       + (json_extract(spec, '$[3][3]') <> '') AS stems,
                       CASE WHEN substr(rtrim(name, replace(replace(name, '.', ''), '/', '')), -1)
                                 = '.'
                            THEN lower(replace(name, rtrim(name, replace(name, '.', '')), ''))
                            ELSE '' END AS suffix
                  FROM (SELECT jobs.*, specs.spec, json_extract(spec, '$[0][2]') AS name
                          FROM jobs
                          JOIN specs ON specs.id = jobs.id
                         WHERE run_no = :run AND row > 0
                           AND NOT (state = 'succeeded' AND skipped = 1))
                       AS jobs)
         GROUP BY level, source, state, code, stems, suffix)
