// Rows of the report, column by column, and the addresses of their sounds.

const columns = Object.fromEntries(COLUMNS.map(({ name }) => [name, []]));
const KINDS = Object.fromEntries(COLUMNS.map(({ name, kind }) => [name, kind]));
const haystack = [];
let places = null; // index by key, made when it is first needed

const count = () => haystack.length;
const text = (value) => (value === null || value === undefined ? "" : String(value));

function noteHay(index) {
  const { input_object: object, code, message, key, job_id: id, user_data: data } = columns;
  haystack[index] = [object, code, message, key, id, data]
    .map((column) => text(column[index]))
    .join("\n")
    .toLowerCase();
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const binary = atob(base64),
    bytes = new Uint8Array(binary.length);
  for (let n = 0; n < binary.length; n += 1) bytes[n] = binary.charCodeAt(n);
  return bytes;
}

async function unpack(base64) {
  const packed = new Blob([bytesOf(base64)])
    .stream()
    .pipeThrough(new DecompressionStream("deflate"));
  return new Response(packed).json();
}

function takePart(part) {
  const first = count();
  part.columns.forEach((packed, place) => {
    const column = columns[COLUMNS[place].name];
    if (packed.v) for (const value of packed.v) column.push(value);
    else if (packed.d) for (const number of packed.i) column.push(packed.d[number]);
    else for (let n = 0; n < part.rows; n += 1) column.push(packed.c);
  });
  for (let index = first; index < first + part.rows; index += 1) noteHay(index);
}

/** Return a row as it is in the report. */
function rowAt(index) {
  const at = (name) => columns[name][index];
  const when = (name) => (at(name) === null ? null : new Date(at(name)).toISOString());
  const output = { bucket: at("output_bucket"), region: at("output_region") };
  const files = [];
  for (const stem of STEMS) {
    if (at(stem) !== null && at(stem) !== undefined) output[stem] = at(stem);
    if (at(`${stem}_verified`) !== null && at(`${stem}_verified`) !== undefined) {
      files.push({
        stem,
        object: at(stem),
        md5: at(`${stem}_md5`),
        size_bytes: at(`${stem}_size_bytes`),
        verified: at(`${stem}_verified`),
      });
    }
  }
  return {
    schema: "orchestrator.report/1",
    run: at("run"),
    key: at("key"),
    state: at("state"),
    level: at("level"),
    input: {
      bucket: at("input_bucket"),
      region: at("input_region"),
      object: at("input_object"),
      etag: at("input_etag"),
    },
    output,
    job_id: at("job_id"),
    queue_id: at("queue_id"),
    attempts: at("attempts"),
    adopted: at("adopted"),
    code: at("code"),
    message: at("message"),
    request_id: at("request_id"),
    submitted_at: when("submitted_at"),
    started_at: when("started_at"),
    finished_at: when("finished_at"),
    media_duration_s: at("media_duration_s"),
    files,
    user_data: at("user_data"),
  };
}

function indexOf(key) {
  places ??= new Map(columns.key.map((each, index) => [each, index]));
  return places.get(key);
}

/** Take new and changed rows, as they are in the report. */
function put(rows) {
  for (const row of rows) {
    let index = indexOf(row.key);
    if (index === undefined) {
      index = count();
      places.set(row.key, index);
      for (const { name } of COLUMNS) columns[name].push(null);
    }
    const files = Object.fromEntries((row.files ?? []).map((file) => [file.stem, file]));
    for (const { name } of COLUMNS) columns[name][index] = flatValue(row, files, name);
    noteHay(index);
    if (shown.has(index)) drop(index);
  }
  orders.clear();
  refresh();
  drawSoon();
}

function flatValue(row, files, name) {
  if (KINDS[name] === "instant") return row[name] ? Date.parse(row[name]) : null;
  const [head, ...rest] = name.split("_"),
    tail = rest.join("_");
  if (head === "input" || head === "output") return row[head]?.[tail] ?? null;
  if (STEMS.includes(head)) return (tail ? files[head]?.[tail] : row.output?.[head]) ?? null;
  return row[name] ?? null;
}

// --- the files of a row

const encoded = (key) => key.split("/").map(encodeURIComponent).join("/");
const haveLinksExpired = () => Boolean(PLACES.links) && Date.now() > PLACES.links.expires_at;

/** Return true if a browser would resolve the name to another one. */
const isOdd = (key) => key.split("/").some((part) => part === "." || part === "..");

/** Return the address of a sound of a row, or null if it cannot be heard from here. */
function addressOf(index, sound) {
  const at = (name) => columns[name][index];
  const side = sound === "input" ? "input" : "output";
  const key =
    sound === "input" ? at("input_object") : at(`${sound}_verified`) === null ? null : at(sound);
  const base = PLACES.bases[`${at(`${side}_bucket`)}/${at(`${side}_region`)}`];
  if (!key || base === undefined || isOdd(key)) return null;
  if (!PLACES.links) return base + encoded(key);
  const signature = at(`${sound}_signature`);
  return signature ? `${base}${encoded(key)}?${PLACES.links.query}&q-signature=${signature}` : null;
}
