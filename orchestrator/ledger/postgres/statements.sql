-- The statements of a ledger, for PostgreSQL; ../sqlite.sql has the same ones for SQLite.
--
-- "-- name:" starts a statement; ../named_queries.py loads them, without the comments.
--
-- Every answer is one JSON text. Many rows go in as one as well (rows, a list per row): a statement
-- is one message to the server, whatever the number of rows, and costs the interpreter little.
--
-- Texts in PostgreSQL cannot contain a NUL: database.py escapes it.


-- ===== Runs

-- name: begin_visit
UPDATE facts SET value = value + 1 WHERE name = 'visit'

-- name: visit
SELECT json_build_array(value)::text FROM facts WHERE name = 'visit'

-- name: run_numbers
SELECT coalesce(json_agg(number), '[]')::text FROM runs WHERE id = %(id)s

-- name: insert_run
INSERT INTO runs (number, id, opened_at, report)
VALUES (%(number)s, %(id)s, %(opened_at)s, %(report)s)

-- name: latest_runs
SELECT coalesce(json_agg(json_build_array(id, number, opened_at, report, closed_at)), '[]')::text
  FROM (SELECT id, number, opened_at, report, closed_at
          FROM runs
         ORDER BY number DESC
         LIMIT %(limit)s) AS found

-- name: end_run
UPDATE runs SET closed_at = %(closed_at)s WHERE number = %(run)s

-- name: planned_job
-- One open job of a run: a planned one, here, or one in flight.
SELECT coalesce(json_agg(json_build_array(key, state)), '[]')::text
  FROM (SELECT key, state FROM jobs WHERE run_no = %(run)s AND state = 'planned' LIMIT 1) AS found

-- name: job_in_flight
SELECT coalesce(json_agg(json_build_array(key, state)), '[]')::text
  FROM (SELECT key, state
          FROM jobs
         WHERE run_no = %(run)s AND state IN ('in_doubt', 'running', 'submitted', 'submitting')
         LIMIT 1) AS found

-- name: last_numbers
-- The last id of a job, and the last row of a run's report.
SELECT json_build_array(
           coalesce((SELECT max(id) FROM jobs), 0),
           coalesce((SELECT max("row") FROM jobs WHERE run_no = %(run)s AND "row" > 0), 0))::text


-- ===== New jobs, and the place of known jobs in a run

-- name: insert_jobs
INSERT INTO jobs (id, key, level, share, seq, visit, run_no)
SELECT (r->>0)::bigint, r->>1, (r->>2)::bigint, r->>3, (r->>4)::bigint, (r->>5)::bigint,
       (r->>6)::bigint
  FROM jsonb_array_elements(%(rows)s::jsonb) AS r

-- name: insert_specs
INSERT INTO specs (id, object_hash, spec)
SELECT (r->>0)::bigint, (r->>1)::bigint, r->>2
  FROM jsonb_array_elements(%(rows)s::jsonb) AS r

-- name: known_jobs
-- The spec is the big part and rarely changes: it is returned only if it is not the offered one.
SELECT coalesce(json_agg(json_build_array(
           jobs.id, jobs.key, jobs.state, jobs.seq, jobs.attempts, jobs.job_id, jobs.past_job_ids,
           jobs.queue_id, jobs.request_id, jobs.adopted, jobs.code, jobs.message, jobs.not_before,
           jobs.intent_at, jobs.submitted_at, jobs.started_at, jobs.finished_at,
           jobs.media_duration, jobs.files, jobs.run_no, jobs."row", jobs.skipped,
           nullif(specs.spec, r->>1)::json, jobs.visit)), '[]')::text
  FROM jsonb_array_elements(%(rows)s::jsonb) AS r
  JOIN jobs ON jobs.key = r->>0
  JOIN specs ON specs.id = jobs.id

-- name: place_jobs
UPDATE jobs
   SET visit = (r->>1)::bigint, seq = (r->>2)::bigint, run_no = (r->>3)::bigint,
       "row" = (r->>4)::bigint, skipped = (r->>5)::bigint
  FROM jsonb_array_elements(%(rows)s::jsonb) AS r
 WHERE jobs.id = (r->>0)::bigint

-- name: set_lanes
UPDATE jobs
   SET level = (r->>1)::bigint, share = r->>2
  FROM jsonb_array_elements(%(rows)s::jsonb) AS r
 WHERE jobs.id = (r->>0)::bigint

-- name: set_specs
UPDATE specs
   SET spec = r->>1
  FROM jsonb_array_elements(%(rows)s::jsonb) AS r
 WHERE specs.id = (r->>0)::bigint

-- name: unseen_visits
-- Planned jobs that this start of the run has not seen, here and in the next statements.
SELECT coalesce(json_agg(visit), '[]')::text
  FROM (SELECT DISTINCT visit FROM jobs WHERE state = 'planned' AND visit < %(visit)s) AS found

-- name: unseen_ids
-- Those of one visit, in the order of the index: reading page by page reads no row twice.
SELECT coalesce(json_agg(id), '[]')::text
  FROM (SELECT id
          FROM jobs
         WHERE state = 'planned' AND visit = %(visit)s
         ORDER BY level, share, seq
         LIMIT %(limit)s) AS found

-- name: leave_unseen
-- What an earlier run left is not written again.
UPDATE jobs
   SET run_no = 0, "row" = 0, skipped = 0
 WHERE state = 'planned' AND visit < %(visit)s AND run_no <> 0
   AND NOT (run_no = %(run)s AND "row" > 0)

-- name: cancel_left
UPDATE jobs
   SET state = 'cancelled', message = %(message)s, finished_at = %(now)s, run_no = 0, skipped = 0
 WHERE id IN (SELECT value::bigint FROM jsonb_array_elements_text(%(ids)s::jsonb))
   AND state = 'planned' AND "row" = 0
   AND visit NOT IN (SELECT value::bigint FROM jsonb_array_elements_text(%(besides)s::jsonb))

-- name: drop_reported
-- Those that have a row in the run's report already.
UPDATE jobs
   SET state = 'cancelled', message = %(message)s, finished_at = %(now)s, skipped = 0
 WHERE state = 'planned' AND visit < %(visit)s AND run_no = %(run)s AND "row" > 0
   AND visit IN (SELECT value::bigint FROM jsonb_array_elements_text(%(visits)s::jsonb))

-- name: drop_unseen
-- The others get the next rows, in the order of their ids.
UPDATE jobs
   SET state = 'cancelled', message = %(message)s, finished_at = %(now)s, skipped = 0,
       run_no = %(run)s, "row" = %(last_row)s + unseen.turn
  FROM (SELECT id, row_number() OVER (ORDER BY id) AS turn
          FROM jobs
         WHERE state = 'planned' AND visit < %(visit)s
           AND visit IN (SELECT value::bigint FROM jsonb_array_elements_text(%(visits)s::jsonb)))
       AS unseen
 WHERE jobs.id = unseen.id


-- ===== Saving

-- name: save_sent
-- A new job that was sent and accepted: the columns that cannot have changed are left out.
UPDATE jobs
   SET state = r->>2, attempts = (r->>3)::bigint, job_id = r->>4, queue_id = r->>5,
       request_id = r->>6, intent_at = (r->>7)::bigint, submitted_at = (r->>8)::bigint
  FROM jsonb_array_elements(%(rows)s::jsonb) AS r
 WHERE jobs.id = (r->>0)::bigint AND jobs.state = r->>1

-- name: save
UPDATE jobs
   SET state = r->>2, attempts = (r->>3)::bigint, job_id = r->>4, queue_id = r->>5,
       request_id = r->>6, intent_at = (r->>7)::bigint, submitted_at = (r->>8)::bigint,
       past_job_ids = r->>9, adopted = (r->>10)::bigint, code = r->>11, message = r->>12,
       not_before = (r->>13)::bigint, started_at = (r->>14)::bigint,
       finished_at = (r->>15)::bigint, media_duration = (r->>16)::bigint, files = r->>17,
       run_no = (r->>18)::bigint, "row" = (r->>19)::bigint, skipped = (r->>20)::bigint
  FROM jsonb_array_elements(%(rows)s::jsonb) AS r
 WHERE jobs.id = (r->>0)::bigint AND jobs.state = r->>1

-- name: states
-- The state of one job, or nothing.
SELECT coalesce(json_agg(state), '[]')::text FROM jobs WHERE id = %(id)s


-- ===== Intents

-- name: intents
SELECT CASE jobs WHEN '' THEN '[]' ELSE jobs END FROM intents

-- name: intents_version
SELECT json_build_array(version)::text FROM intents

-- name: set_intents_version
UPDATE intents SET version = %(version)s

-- name: write_intents
-- Changes nothing if another process holds the lease, or if a job that was added is not planned.
UPDATE intents
   SET jobs = %(intents)s
 WHERE version = %(version)s
   AND %(added_count)s = (SELECT count(*)
                            FROM jobs
                           WHERE id IN (SELECT value::bigint
                                          FROM jsonb_array_elements_text(%(added)s::jsonb))
                             AND state = 'planned')

-- name: submit_jobs
-- Intents into the rows of their jobs.
UPDATE jobs
   SET state = 'submitting', attempts = (r->>1)::bigint, intent_at = (r->>2)::bigint
  FROM jsonb_array_elements(%(rows)s::jsonb) AS r
 WHERE jobs.id = (r->>0)::bigint AND jobs.state = 'planned'

-- name: keys_not_planned
SELECT coalesce(json_agg(key), '[]')::text
  FROM jobs
 WHERE id IN (SELECT value::bigint FROM jsonb_array_elements_text(%(ids)s::jsonb))
   AND state <> 'planned'


-- ===== Small values that are kept between runs

-- name: remember
INSERT INTO memory (name, value) VALUES (%(key)s, %(value)s)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: recall
SELECT coalesce(json_agg(encode(value, 'hex')), '[]')::text FROM memory WHERE name = %(key)s


-- ===== Questions. They give ids; "jobs" reads the jobs with these ids. No order is promised.

-- name: jobs
SELECT coalesce(json_agg(json_build_array(
           jobs.id, jobs.key, jobs.state, jobs.seq, jobs.attempts, jobs.job_id, jobs.past_job_ids,
           jobs.queue_id, jobs.request_id, jobs.adopted, jobs.code, jobs.message, jobs.not_before,
           jobs.intent_at, jobs.submitted_at, jobs.started_at, jobs.finished_at,
           jobs.media_duration, jobs.files, jobs.run_no, jobs."row", jobs.skipped,
           specs.spec::json)), '[]')::text
  FROM jsonb_array_elements_text(%(ids)s::jsonb) AS wanted
  JOIN jobs ON jobs.id = wanted::bigint
  JOIN specs ON specs.id = jobs.id

-- name: ids_by_key
SELECT coalesce(json_agg(jobs.id), '[]')::text
  FROM jsonb_array_elements_text(%(keys)s::jsonb) AS wanted
  JOIN jobs ON jobs.key = wanted

-- name: ready_ids
SELECT coalesce(json_agg(json_build_array(id, seq)), '[]')::text
  FROM (SELECT id, seq
          FROM jobs
         WHERE state = 'planned' AND visit = %(visit)s AND level = %(level)s AND share = %(share)s
           AND not_before <= %(now)s
         ORDER BY seq
         LIMIT %(limit)s) AS found

-- name: ready_at_once
SELECT coalesce(json_agg(json_build_array(id, not_before)), '[]')::text
  FROM (SELECT id, not_before
          FROM jobs
         WHERE state = 'planned' AND visit = %(visit)s AND not_before <= 0
         LIMIT %(limit)s) AS found

-- name: ready_later
SELECT coalesce(json_agg(json_build_array(id, not_before)), '[]')::text
  FROM (SELECT id, not_before
          FROM jobs
         WHERE state = 'planned' AND visit = %(visit)s AND not_before > 0
         ORDER BY not_before
         LIMIT %(limit)s) AS found

-- name: ready_ids_elsewhere
-- The three above, without the jobs whose media objects lie in certain places: their specs begin
-- with one of the texts in "closed".
SELECT coalesce(json_agg(json_build_array(id, seq)), '[]')::text
  FROM (SELECT jobs.id, jobs.seq
          FROM jobs
          JOIN specs ON specs.id = jobs.id
         WHERE jobs.state = 'planned' AND jobs.visit = %(visit)s AND jobs.level = %(level)s
           AND jobs.share = %(share)s AND jobs.not_before <= %(now)s
           AND NOT EXISTS (SELECT 1
                             FROM jsonb_array_elements_text(%(closed)s::jsonb) AS closed
                            WHERE starts_with(specs.spec, closed))
         ORDER BY jobs.seq
         LIMIT %(limit)s) AS found

-- name: ready_at_once_elsewhere
SELECT coalesce(json_agg(json_build_array(id, not_before)), '[]')::text
  FROM (SELECT jobs.id, jobs.not_before
          FROM jobs
          JOIN specs ON specs.id = jobs.id
         WHERE jobs.state = 'planned' AND jobs.visit = %(visit)s AND jobs.not_before <= 0
           AND NOT EXISTS (SELECT 1
                             FROM jsonb_array_elements_text(%(closed)s::jsonb) AS closed
                            WHERE starts_with(specs.spec, closed))
         LIMIT %(limit)s) AS found

-- name: ready_later_elsewhere
SELECT coalesce(json_agg(json_build_array(id, not_before)), '[]')::text
  FROM (SELECT jobs.id, jobs.not_before
          FROM jobs
          JOIN specs ON specs.id = jobs.id
         WHERE jobs.state = 'planned' AND jobs.visit = %(visit)s AND jobs.not_before > 0
           AND NOT EXISTS (SELECT 1
                             FROM jsonb_array_elements_text(%(closed)s::jsonb) AS closed
                            WHERE starts_with(specs.spec, closed))
         ORDER BY jobs.not_before
         LIMIT %(limit)s) AS found

-- name: ids_in_flight
SELECT coalesce(json_agg(id), '[]')::text
  FROM (SELECT id
          FROM jobs
         WHERE state IN ('in_doubt', 'running', 'submitted', 'submitting')
           AND state IN (SELECT value FROM jsonb_array_elements_text(%(states)s::jsonb))
           AND id > %(after_id)s
         ORDER BY id
         LIMIT %(limit)s) AS found

-- name: ids_in_states
-- A planned job with an intent counts as submitting.
SELECT coalesce(json_agg(id), '[]')::text
  FROM (SELECT id
          FROM jobs
         WHERE id > %(after_id)s
           AND CASE WHEN state = 'planned'
                         AND id IN (SELECT value::bigint
                                      FROM jsonb_array_elements_text(%(intended)s::jsonb))
                    THEN 'submitting'
                    ELSE state
               END IN (SELECT value FROM jsonb_array_elements_text(%(states)s::jsonb))
         ORDER BY id
         LIMIT %(limit)s) AS found

-- name: reported_ids
SELECT coalesce(json_agg(id), '[]')::text
  FROM (SELECT id
          FROM jobs
         WHERE run_no = %(run)s AND "row" > %(after_row)s AND "row" > 0
         ORDER BY "row"
         LIMIT %(limit)s) AS found

-- name: same_hash
SELECT coalesce(json_agg(json_build_array(jobs.key, specs.spec::json)), '[]')::text
  FROM jsonb_array_elements_text(%(hashes)s::jsonb) AS wanted
  JOIN specs ON specs.object_hash = wanted::bigint
  JOIN jobs ON jobs.id = specs.id

-- name: counts
-- Three small indexes, not a million rows.
SELECT json_build_array(
    (SELECT json_build_array(count(*) FILTER (WHERE run_no = %(run)s),
                             count(*) FILTER (WHERE run_no = 0))
       FROM jobs
      WHERE state = 'planned'),
    (SELECT coalesce(json_agg(json_build_array(state, number)), '[]')
       FROM (SELECT state, count(*) AS number
               FROM jobs
              WHERE state IN ('in_doubt', 'running', 'submitted', 'submitting')
                AND run_no = %(run)s
              GROUP BY state) AS flying),
    (SELECT json_build_object(
                'skipped', count(*) FILTER (WHERE state = 'succeeded' AND skipped = 1),
                'succeeded', count(*) FILTER (WHERE state = 'succeeded' AND skipped = 0),
                'failed', count(*) FILTER (WHERE state = 'failed'),
                'cancelled', count(*) FILTER (WHERE state = 'cancelled'),
                'rejected', count(*) FILTER (WHERE state = 'rejected'),
                'unfinished', count(*) FILTER (WHERE state = 'unfinished'))
       FROM jobs
      WHERE run_no = %(run)s AND "row" > 0),
    (SELECT count(*)
       FROM jobs
      WHERE id IN (SELECT value::bigint FROM jsonb_array_elements_text(%(intended)s::jsonb))
        AND run_no = %(run)s))::text

-- name: usage
-- A spec is JSON by position (spec_json.py), where a NUL would be an error. The suffix of a name is
-- what follows its last dot, unless a slash follows that.
SELECT coalesce(json_agg(json_build_array(
           level, source, state, code, stems, suffix, jobs, media_s, unmeasured, given_s,
           sized_bytes, unsized)), '[]')::text
  FROM (SELECT level, source, state, code, stems, suffix,
               count(*) AS jobs,
               round(coalesce(sum(coalesce(media_duration / 1000000.0::float8, length_s)), 0)
                     ::numeric, 3)::float8 AS media_s,
               count(*) FILTER (WHERE media_duration IS NULL AND length_s IS NULL) AS unmeasured,
               round(coalesce(sum(length_s), 0)::numeric, 3)::float8 AS given_s,
               coalesce(sum(size_bytes) FILTER (WHERE length_s IS NULL), 0)::bigint AS sized_bytes,
               count(*) FILTER (WHERE length_s IS NULL AND size_bytes IS NULL) AS unsized
          FROM (SELECT level, state, code, media_duration,
                       spec->9->>2 AS source,
                       (spec->0->>4)::bigint AS size_bytes,
                       (spec->0->>5)::float8 AS length_s,
                       (SELECT count(*)
                          FROM jsonb_array_elements_text(spec->3) AS stem
                         WHERE stem <> '') AS stems,
                       lower(coalesce(substring(spec->0->>2 FROM '\.([^./]*)$'), '') COLLATE "C")
                           AS suffix
                  FROM (SELECT jobs.level, jobs.state, jobs.code, jobs.media_duration,
                               replace(specs.spec, '\u0000', '\ufffd')::jsonb AS spec
                          FROM jobs
                          JOIN specs ON specs.id = jobs.id
                         WHERE run_no = %(run)s AND "row" > 0
                           AND NOT (state = 'succeeded' AND skipped = 1))
                       AS ended)
               AS measured
         GROUP BY level, source, state, code, stems, suffix)
       AS summed


-- ===== The lease. Instants are of the server's clock, in microseconds.

-- name: take_lease
-- A row that is locked is being written by a holder who is alive: it is not waited for.
WITH free AS (
    SELECT id
      FROM lease
     WHERE token IN ('', %(token)s)
        OR expires_at < extract(epoch FROM clock_timestamp()) * 1000000
       FOR UPDATE SKIP LOCKED)
UPDATE lease
   SET token = %(token)s, host = %(host)s, pid = %(pid)s, since = %(since)s,
       command = %(command)s, commits = %(commits)s,
       seen_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       expires_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + %(lease)s
  FROM free
 WHERE lease.id = free.id

-- name: keep_lease
-- With each transaction of the holder, before anything else: it locks out a successor until the
-- end.
UPDATE lease
   SET commits = %(commits)s,
       seen_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       expires_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + %(lease)s
 WHERE token = %(token)s AND commits = %(commits)s - 1

-- name: give_lease_back
UPDATE lease
   SET token = '', expires_at = 0
 WHERE token = %(token)s

-- name: read_lease
SELECT coalesce(json_agg(json_build_array(host, pid, since, command)), '[]')::text
  FROM lease
 WHERE token <> ''
   AND (token = %(token)s OR expires_at >= extract(epoch FROM clock_timestamp()) * 1000000)

-- name: read_back
-- Waits for a transaction of an earlier connection that is still being committed.
SELECT json_build_array(token, commits)::text
  FROM (SELECT token, commits FROM lease FOR UPDATE) AS found

-- name: end_session
-- An earlier connection of ours that the server still takes for alive.
SELECT coalesce(json_agg(pg_terminate_backend(pid)), '[]')::text
  FROM pg_stat_activity
 WHERE pid = %(pid)s AND backend_start::text = %(started)s
