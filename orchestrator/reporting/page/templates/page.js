/* The report page. No library, no network: everything is in the document.
 *
 * For a program that shows a run while it works, window.reportPage has two functions:
 *   put(rows)       takes new and changed rows, as they are in the report (one object per job)
 *   totals(change)  takes changed totals, under the names of the totals in the document
 * and two to read: row(key) and rows().
 */
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const json = (id) => JSON.parse($(id).textContent);
  const COLUMNS = json("columns");
  const PLACES = json("places");
  const DRAWINGS = json("drawings");
  let totals = json("totals");

  const STATES = ["succeeded", "skipped", "failed", "rejected", "cancelled", "unfinished"];
  const WELL = new Set(["succeeded", "skipped"]);
  const SIGNS = { succeeded: "✓", skipped: "↷", failed: "✕", rejected: "⊘", cancelled: "–", unfinished: "?" };
  const STEMS = ["voice", "background", "bass", "drums"];
  const SOUNDS = ["input", "voice", "background"];
  const TITLES = { input: "Input", voice: "Voice", background: "Background" };

  /** Return an element with attributes and children; text is never read as HTML. */
  function make(name, attributes = {}, ...children) {
    const found = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === true) found.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) found.setAttribute(key, value);
    }
    found.append(...children);
    return found;
  }

  const SHAPES = { play: "M7 4v16l13-8z", pause: "M6 4h4v16H6zM14 4h4v16h-4z", info: "M11 10h2v8h-2zM11 6h2v2h-2z" };
  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
    for (const [key, value] of [["class", "icon"], ["viewBox", "0 0 24 24"], ["aria-hidden", "true"], ["focusable", "false"]]) svg.setAttribute(key, value);
    path.setAttribute("d", SHAPES[name]);
    svg.append(path);
    return svg;
  }

  // --- text

  const number = new Intl.NumberFormat("en");
  const counted = (n, word) => `${number.format(n)} ${word}${n === 1 ? "" : "s"}`;
  const pad = (n) => String(n).padStart(2, "0");
  function length(seconds) {
    if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
    const whole = Math.max(Math.round(seconds), 0), hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
  }
  const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const short = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const instant = (ms) => (ms === null || ms === undefined ? "–" : moment.format(ms));
  const money = (value, currency) => (value === null || value === undefined ? "–" : !value ? "free" : `${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })} ${currency}`);

  // --- rows, column by column

  const columns = Object.fromEntries(COLUMNS.map(({ name }) => [name, []]));
  const KINDS = Object.fromEntries(COLUMNS.map(({ name, kind }) => [name, kind]));
  const haystack = [];
  let places = null; // index by key, made when it is first needed

  const count = () => haystack.length;
  const text = (value) => (value === null || value === undefined ? "" : String(value));

  function noteHay(index) {
    const { input_object: object, code, message, key, job_id: id, user_data: data } = columns;
    haystack[index] = [object, code, message, key, id, data].map((column) => text(column[index])).join("\n").toLowerCase();
  }

  function bytesOf(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const binary = atob(base64), bytes = new Uint8Array(binary.length);
    for (let n = 0; n < binary.length; n += 1) bytes[n] = binary.charCodeAt(n);
    return bytes;
  }

  async function unpack(base64) {
    const packed = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
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
        files.push({ stem, object: at(stem), md5: at(`${stem}_md5`), size_bytes: at(`${stem}_size_bytes`), verified: at(`${stem}_verified`) });
      }
    }
    return {
      schema: "orchestrator.report/1", run: at("run"), key: at("key"), state: at("state"), level: at("level"),
      input: { bucket: at("input_bucket"), region: at("input_region"), object: at("input_object"), etag: at("input_etag") },
      output, job_id: at("job_id"), queue_id: at("queue_id"), attempts: at("attempts"), adopted: at("adopted"),
      code: at("code"), message: at("message"), request_id: at("request_id"),
      submitted_at: when("submitted_at"), started_at: when("started_at"), finished_at: when("finished_at"),
      media_duration_s: at("media_duration_s"), files, user_data: at("user_data"),
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
    const [head, ...rest] = name.split("_"), tail = rest.join("_");
    if (head === "input" || head === "output") return row[head]?.[tail] ?? null;
    if (STEMS.includes(head)) return (tail ? files[head]?.[tail] : row.output?.[head]) ?? null;
    return row[name] ?? null;
  }

  // --- the files of a row

  const encoded = (key) => key.split("/").map(encodeURIComponent).join("/");
  const isOdd = (key) => key.split("/").some((part) => part === "." || part === ".."); // the browser would resolve it

  /** Return the address of a sound of a row, or null if it cannot be heard from here. */
  function addressOf(index, sound) {
    const at = (name) => columns[name][index];
    const side = sound === "input" ? "input" : "output";
    const key = sound === "input" ? at("input_object") : at(`${sound}_verified`) === null ? null : at(sound);
    const base = PLACES.bases[`${at(`${side}_bucket`)}/${at(`${side}_region`)}`];
    if (!key || base === undefined || isOdd(key)) return null;
    if (!PLACES.links) return base + encoded(key);
    const signature = at(`${sound}_signature`);
    return signature ? `${base}${encoded(key)}?${PLACES.links.query}&q-signature=${signature}` : null;
  }

  // --- filter and order

  const HEADS = [
    { name: "listen", title: "Listen", css: "listen" },
    { name: "object", title: "Object", css: "name", value: (n) => columns.input_object[n].toLowerCase() },
    { name: "state", title: "State", css: "state", value: (n) => STATES.indexOf(columns.state[n]) },
    { name: "level", title: "Level", css: "num wide", value: (n) => columns.level[n] },
    { name: "sound", title: "Sound", css: "num sound", value: (n) => columns.media_duration_s[n] },
    { name: "took", title: "Took", css: "num wide dim", value: (n) => tookOf(n) },
    { name: "finished", title: "Finished", css: "wide dim", value: (n) => columns.finished_at[n] },
    { name: "code", title: "Code", css: "code", value: (n) => columns.code[n] || null },
  ];
  const tookOf = (n) => (columns.finished_at[n] === null || columns.submitted_at[n] === null ? null : (columns.finished_at[n] - columns.submitted_at[n]) / 1000);
  const wanted = { words: [], states: new Set(), level: "", code: "", sort: "", down: false };
  const orders = new Map(); // the order of all rows by a column, kept: a filter keeps the order
  const collator = new Intl.Collator(undefined, { numeric: true });
  const MOST_COLLATED = 20000; // numbers inside names are compared as numbers up to this many rows
  let view = [];

  function orderOf(head) {
    if (!orders.has(head.name)) {
      const values = Array.from({ length: count() }, (_, n) => head.value(n));
      const isText = values.some((value) => typeof value === "string");
      const compare = isText && count() <= MOST_COLLATED ? collator.compare : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
      const order = values.map((_, n) => n).filter((n) => values[n] !== null);
      order.sort((a, b) => compare(values[a], values[b]) || a - b);
      orders.set(head.name, { order, none: values.map((_, n) => n).filter((n) => values[n] === null) });
    }
    return orders.get(head.name);
  }

  function ordered() {
    const head = HEADS.find(({ name }) => name === wanted.sort);
    if (!head) return null;
    const { order, none } = orderOf(head);
    return (wanted.down ? order.slice().reverse() : order).concat(none);
  }

  function matches(n) {
    if (wanted.states.size && !wanted.states.has(columns.state[n])) return false;
    if (wanted.level !== "" && String(columns.level[n]) !== wanted.level) return false;
    if (wanted.code !== "" && columns.code[n] !== wanted.code) return false;
    return wanted.words.every((word) => haystack[n].includes(word));
  }

  /** Choose the rows that the filter wants, and show them. */
  function refresh() {
    const order = ordered(), found = [];
    for (let place = 0; place < count(); place += 1) {
      const n = order ? order[place] : place;
      if (matches(n)) found.push(n);
    }
    view = found;
    const all = number.format(count());
    const parts = totals.jobs > count() ? ` (${number.format(totals.jobs)} in the run)` : "";
    $("count").textContent = (view.length === count() ? `${counted(count(), "job")}` : `${number.format(view.length)} of ${all} jobs`) + parts;
    $("table").setAttribute("aria-rowcount", view.length + 1);
    render(true);
  }

  function readFilter() {
    wanted.words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    wanted.level = $("level").value;
    wanted.code = $("code").value;
    for (const chip of $("chips").children) chip.setAttribute("aria-pressed", wanted.states.has(chip.dataset.state));
    refresh();
    rememberFilter();
  }

  // The filter is in the address, so that a link can lead to some rows.
  function rememberFilter() {
    const found = new URLSearchParams();
    if ($("search").value) found.set("q", $("search").value);
    if (wanted.states.size) found.set("state", [...wanted.states].join(","));
    for (const name of ["level", "code"]) if (wanted[name]) found.set(name, wanted[name]);
    if (wanted.sort) found.set("sort", (wanted.down ? "-" : "") + wanted.sort);
    const hash = found.toString();
    if (location.hash.slice(1) !== hash) history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function recallFilter() {
    const found = new URLSearchParams(location.hash.slice(1));
    $("search").value = found.get("q") ?? "";
    wanted.states = new Set((found.get("state") ?? "").split(",").filter((state) => STATES.includes(state)));
    for (const name of ["level", "code"]) $(name).value = found.get(name) ?? "";
    const sort = found.get("sort") ?? "";
    wanted.down = sort.startsWith("-");
    wanted.sort = HEADS.some(({ name, value }) => value && name === sort.replace("-", "")) ? sort.replace("-", "") : "";
    showSort();
  }

  function sortBy(name) {
    if (wanted.sort !== name) Object.assign(wanted, { sort: name, down: false });
    else if (!wanted.down) wanted.down = true;
    else wanted.sort = "";
    showSort();
    readFilter();
  }

  function showSort() {
    for (const cell of $("heads").children) {
      const direction = cell.dataset.name !== wanted.sort ? "none" : wanted.down ? "descending" : "ascending";
      if (cell.dataset.name !== "listen") cell.setAttribute("aria-sort", direction);
    }
  }

  function showChips() {
    const counts = {};
    for (const state of columns.state) counts[state] = (counts[state] ?? 0) + 1;
    $("chips").replaceChildren(...Object.keys(counts).sort((a, b) => STATES.indexOf(a) - STATES.indexOf(b)).map((state) => {
      const chip = make("button", { type: "button", "data-state": state, "aria-pressed": wanted.states.has(state) }, sign(state), state.replace("_", " "), make("b", {}, number.format(counts[state])));
      chip.addEventListener("click", () => {
        if (!wanted.states.delete(state)) wanted.states.add(state);
        readFilter();
      });
      return chip;
    }));
    options("level", [...new Set(columns.level)].sort((a, b) => b - a));
    const codes = [...new Set(columns.code)].filter(Boolean).sort();
    options("code", codes);
    $("code-pick").hidden = !codes.length;
  }

  function options(id, values) {
    const chosen = $(id).value;
    $(id).replaceChildren(make("option", { value: "" }, "all"), ...values.map((value) => make("option", { value }, String(value))));
    $(id).value = chosen;
  }

  const sign = (state) => make("span", { class: "sign", "data-state": state, "aria-hidden": "true" }, SIGNS[state] ?? "◌");

  // --- the table: only the rows in view are in the document

  const shown = new Map(); // rows of the document, by index
  const FEW = 60; // at least so many rows are in the document, also while the table is out of view
  const SPARE = 12; // rows above and below those in view
  const MOST_PRINTED = 1000;
  let rowHeight = 0, top = 0, isPrinting = false, cursor = null;

  function buildRow(n) {
    const at = (name) => columns[name][n];
    const state = at("state"), name = text(at("input_object"));
    const row = make("tr", { role: "row", "data-key": at("key"), "data-state": state, tabindex: "-1" });
    const listen = make("button", { type: "button", class: "round", tabindex: "-1", "aria-label": `Play ${name}` }, icon("play"));
    listen.addEventListener("click", (event) => { event.stopPropagation(); open(n, true); });
    const first = make("td", { role: "cell", class: "listen" }, listen);
    const sounds = current && current.key === at("key") ? current.sounds : soundsOf(n);
    first.append(...Object.values(sounds));
    if (!Object.keys(sounds).length) { listen.replaceChildren(icon("info")); listen.setAttribute("aria-label", `Details of ${name}`); }
    const took = tookOf(n);
    row.append(
      first,
      make("td", { role: "cell", class: "name", title: name }, make("bdi", {}, name)),
      make("td", { role: "cell", class: "state" }, sign(state), state.replace("_", " ")),
      make("td", { role: "cell", class: "num wide" }, text(at("level"))),
      make("td", { role: "cell", class: "num sound" }, length(at("media_duration_s"))),
      make("td", { role: "cell", class: "num wide dim" }, took === null ? "–" : took < 10 ? `${took.toFixed(1)} s` : length(took)),
      make("td", { role: "cell", class: "wide dim" }, at("finished_at") === null ? "–" : short.format(at("finished_at"))),
      make("td", { role: "cell", class: "code", title: text(at("message")) }, text(at("code"))),
    );
    row.addEventListener("click", () => open(n, false));
    return row;
  }

  function soundsOf(n) {
    const found = {};
    for (const sound of SOUNDS) {
      const address = addressOf(n, sound);
      if (address === null) continue;
      found[sound] = make("audio", { "data-stem": sound, preload: "none", src: address, "aria-label": `${TITLES[sound]} of ${text(columns.input_object[n])}` });
    }
    return found;
  }

  /** Take a row out of the document; a sound that plays stays in it. */
  function drop(n) {
    const row = shown.get(n);
    if (current && current.index === n) $("held").append(...Object.values(current.sounds));
    else for (const audio of row.querySelectorAll("audio")) audio.removeAttribute("src");
    row.remove();
    shown.delete(n);
  }

  function range() {
    if (isPrinting) return [0, Math.min(view.length, MOST_PRINTED)];
    if (view.length <= FEW) return [0, view.length];
    const start = $("above").getBoundingClientRect().top;
    const from = Math.max(Math.min(Math.floor(-start / rowHeight) - SPARE, view.length - FEW), 0);
    return [from, Math.min(Math.max(Math.ceil((innerHeight - start) / rowHeight) + SPARE, from + FEW), view.length)];
  }

  function render(isNew = false) {
    if (!rowHeight && view.length) {
      const probe = buildRow(view[0]);
      $("rows").append(probe);
      rowHeight = probe.offsetHeight || 44;
      probe.remove();
    }
    const [from, to] = range();
    if (!isNew && from === top && shown.size === to - from) return;
    top = from;
    const chosen = view.slice(from, to), keep = new Set(chosen);
    for (const n of [...shown.keys()]) if (!keep.has(n)) drop(n);
    let before = $("rows").firstChild;
    chosen.forEach((n, place) => {
      let row = shown.get(n);
      if (!row) shown.set(n, (row = buildRow(n)));
      row.setAttribute("aria-rowindex", from + place + 2);
      if (current && current.index === n) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
      row.tabIndex = n === (keep.has(cursor) ? cursor : chosen[0]) ? 0 : -1;
      if (row === before) before = before.nextSibling;
      else $("rows").insertBefore(row, before);
    });
    $("above").firstChild.style.height = `${from * rowHeight}px`;
    $("below").firstChild.style.height = `${isPrinting ? 0 : (view.length - to) * rowHeight}px`;
  }

  /** Move to a row of the view, by its place. */
  function moveTo(place) {
    const to = Math.max(0, Math.min(place, view.length - 1));
    if (!view.length) return;
    cursor = view[to];
    const head = $("heads").offsetHeight, low = innerHeight - ($("dock").hidden ? 0 : $("dock").offsetHeight);
    const y = $("above").getBoundingClientRect().top + to * rowHeight;
    if (y < head) scrollBy(0, y - head);
    else if (y + rowHeight > low) scrollBy(0, y + rowHeight - low + 4);
    render(true);
    shown.get(cursor)?.focus({ preventScroll: true });
  }

  let frame = 0;
  const soon = (act) => () => { if (!frame) frame = requestAnimationFrame(() => { frame = 0; act(); }); };
  addEventListener("scroll", soon(() => render()), { passive: true });
  addEventListener("resize", soon(() => { rowHeight = 0; for (const n of [...shown.keys()]) drop(n); render(true); drawAll(); }));
  addEventListener("beforeprint", () => {
    isPrinting = true;
    render(true);
    const more = view.length - MOST_PRINTED;
    $("print-note").hidden = more <= 0;
    $("print-note").textContent = `… and ${counted(more, "more job")}. Filter the rows to print others.`;
  });
  addEventListener("afterprint", () => { isPrinting = false; $("print-note").hidden = true; render(true); });

  // --- the player

  let current = null; // {index, key, sounds, active}
  const settings = { volume: 1, loop: false };

  /** Show a job in the player, and play it. */
  function open(n, plays) {
    const isSame = current && current.index === n && current.key === columns.key[n];
    if (!isSame) {
      leave();
      if (!shown.has(n)) { shown.set(n, buildRow(n)); $("held").append(shown.get(n)); }
      const sounds = Object.fromEntries([...shown.get(n).querySelectorAll("audio")].map((audio) => [audio.dataset.stem, audio]));
      current = { index: n, key: columns.key[n], sounds, active: sounds.voice ? "voice" : Object.keys(sounds)[0] ?? "" };
      for (const audio of Object.values(sounds)) follow(audio);
      if (!shown.get(n).closest("#rows")) { $("held").append(...Object.values(sounds)); shown.get(n).remove(); shown.delete(n); }
      cursor = n;
      showJob(n);
    }
    $("dock").hidden = false;
    document.body.classList.add("with-dock");
    fit();
    render(true);
    drawWaves();
    if (plays && current.active) toggle(!isSame);
  }

  function leave() {
    if (!current) return;
    for (const audio of Object.values(current.sounds)) {
      audio.pause();
      audio.preload = "none";
      if (audio.closest("#held")) audio.remove();
    }
    current = null;
  }

  function close() {
    const n = current?.index;
    leave();
    $("dock").hidden = true;
    document.body.classList.remove("with-dock");
    render(true);
    shown.get(n)?.focus({ preventScroll: true });
  }

  /** Keep the end of the page reachable above the player. */
  function fit() { document.body.style.setProperty("--dock", `${$("dock").offsetHeight + 16}px`); }

  function showJob(n) {
    const row = rowAt(n), facts = [row.state, length(row.media_duration_s), `level ${row.level}`];
    $("dock-title").firstChild.textContent = row.input.object;
    $("dock-facts").replaceChildren(sign(row.state), facts.filter((fact) => fact !== "–").join(" · "));
    $("dock-message").hidden = !row.code && !row.message;
    $("dock-message").textContent = [row.code, row.message].filter(Boolean).join(": ");
    $("problem").hidden = true;
    const sounds = Object.keys(current.sounds);
    $("transport").hidden = !sounds.length;
    $("lanes").replaceChildren(...SOUNDS.filter((sound) => sounds.includes(sound)).map((sound, place) => {
      const choose = make("button", { type: "button", role: "radio", "data-sound": sound, "aria-checked": "false" }, make("kbd", { "aria-hidden": "true" }, String(place + 1)), ` ${TITLES[sound]}`);
      choose.addEventListener("click", () => hear(sound));
      const wave = make("div", { class: "wave", "data-wave": sound, "aria-hidden": "true" }, make("canvas"));
      wave.addEventListener("pointerdown", (event) => { hear(sound); seekIn(wave, event); wave.setPointerCapture(event.pointerId); });
      wave.addEventListener("pointermove", (event) => { if (event.buttons) seekIn(wave, event); });
      return make("div", { class: "lane" }, choose, wave);
    }));
    if (PLACES.links && Date.now() > PLACES.links.expires_at) complain("The links of this page have expired. Write it again with --links.");
    $("details").replaceChildren(...detailsOf(row, n).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
    showPlayer();
  }

  function detailsOf(row, n) {
    const file = (sound) => {
      const address = addressOf(n, sound), name = sound === "input" ? row.input.object : columns[sound][n];
      return address ? make("a", { href: address, target: "_blank", rel: "noreferrer" }, make("bdi", {}, name)) : make("bdi", {}, text(name));
    };
    const found = [["Input", file("input")], ["Bucket", `${row.input.bucket}, ${row.input.region}`]];
    for (const each of row.files) {
      const facts = [each.size_bytes === null ? "" : `${number.format(each.size_bytes)} bytes`, each.verified ? "verified" : "not verified"];
      found.push([TITLES[each.stem] ?? each.stem, make("span", {}, file(each.stem), ` (${facts.filter(Boolean).join(", ")})`)]);
    }
    found.push(["Submitted", instant(columns.submitted_at[n])], ["Started", instant(columns.started_at[n])], ["Finished", instant(columns.finished_at[n])]);
    found.push(["Attempts", String(row.attempts) + (row.adopted ? ", adopted" : "")], ["Job id", row.job_id], ["Request id", row.request_id], ["User data", row.user_data], ["Key", row.key], ["Run", row.run]);
    return found.filter(([, value]) => value !== "" && value !== "–");
  }

  const playing = () => current?.sounds[current.active];

  function toggle(starts = playing()?.paused) {
    const audio = playing();
    if (!audio) return;
    if (starts) start(audio);
    else audio.pause();
  }

  function start(audio) {
    audio.preload = "auto";
    audio.play().catch((error) => { if (error.name !== "AbortError") complain(reason(audio)); });
    // The others are loaded, too, so that switching has no gap.
    for (const each of Object.values(current.sounds)) if (each !== audio) each.preload = "auto";
  }

  function reason(audio) {
    if (PLACES.links && Date.now() > PLACES.links.expires_at) return "The links of this page have expired. Write it again with --links.";
    const where = PLACES.links ? "The storage did not deliver it, or the browser cannot play its format." : "It is no longer beside this page, or the browser cannot play its format.";
    return `${TITLES[audio.dataset.stem]} cannot be played. ${where}`;
  }

  function complain(message) { $("problem").textContent = message; $("problem").hidden = false; fit(); }

  /** Hear another sound of the job at the same second. */
  function hear(sound) {
    const from = playing(), to = current?.sounds[sound];
    if (!to || to === from) return showPlayer();
    current.active = sound;
    to.currentTime = from.currentTime;
    if (!from.paused) {
      // The old sound ends when the new one is heard, so that there is no silence between.
      const swap = () => {
        if (current?.active !== sound) { to.pause(); return; }
        if (!from.paused) {
          if (Math.abs(to.currentTime - from.currentTime) > 0.06) to.currentTime = from.currentTime;
          from.pause();
        }
      };
      to.preload = "auto";
      to.play().then(swap, (error) => { from.pause(); if (error.name !== "AbortError") complain(reason(to)); });
    }
    showPlayer();
  }

  function follow(audio) {
    audio.volume = settings.volume;
    audio.loop = settings.loop;
    if (audio.dataset.followed) return;
    audio.dataset.followed = "yes";
    for (const name of ["play", "pause", "ended", "timeupdate", "durationchange", "seeked"]) {
      audio.addEventListener(name, () => { if (playing() === audio) showPlayer(); });
    }
    audio.addEventListener("error", () => { if (playing() === audio && audio.error) complain(reason(audio)); });
  }

  const lengthNow = () => {
    const audio = playing();
    return audio && Number.isFinite(audio.duration) ? audio.duration : current ? columns.media_duration_s[current.index] ?? 0 : 0;
  };

  function seekTo(seconds) {
    const audio = playing();
    if (!audio) return;
    audio.preload = "auto";
    audio.currentTime = Math.max(0, Math.min(seconds, lengthNow() || 0));
    showPlayer();
  }

  function seekIn(wave, event) {
    const box = wave.getBoundingClientRect();
    seekTo(((event.clientX - box.left) / box.width) * lengthNow());
  }

  function showPlayer() {
    const audio = playing(), total = lengthNow(), at = audio ? audio.currentTime : 0;
    const isPlaying = Boolean(audio && !audio.paused && !audio.ended);
    $("play").querySelector("path").setAttribute("d", SHAPES[isPlaying ? "pause" : "play"]);
    $("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    $("clock").textContent = `${length(Math.floor(at))} / ${length(total)}`;
    $("seek").value = total ? Math.round((at / total) * 1000) : 0;
    $("seek").setAttribute("aria-valuetext", `${length(Math.floor(at))} of ${length(total)}`);
    for (const button of $("lanes").querySelectorAll("button")) {
      const isActive = button.dataset.sound === current?.active;
      button.setAttribute("aria-checked", isActive);
      button.tabIndex = isActive ? 0 : -1;
    }
    drawWaves();
  }

  function setVolume(value) {
    settings.volume = Math.max(0, Math.min(value, 1));
    $("volume").value = Math.round(settings.volume * 100);
    for (const audio of Object.values(current?.sounds ?? {})) audio.volume = settings.volume;
  }

  function setLoop(isOn) {
    settings.loop = isOn;
    $("loop").setAttribute("aria-pressed", isOn);
    for (const audio of Object.values(current?.sounds ?? {})) audio.loop = isOn;
  }

  function step(by) {
    if (!current) return;
    const plays = Boolean(playing() && !playing().paused), place = view.indexOf(current.index) + by;
    if (place < 0 || place >= view.length) return;
    moveTo(place);
    open(view[place], plays);
  }

  $("play").addEventListener("click", () => toggle());
  $("close").addEventListener("click", close);
  $("next").addEventListener("click", () => step(1));
  $("previous").addEventListener("click", () => step(-1));
  $("loop").addEventListener("click", () => setLoop(!settings.loop));
  $("volume").addEventListener("input", () => setVolume($("volume").value / 100));
  $("seek").addEventListener("input", () => seekTo(($("seek").value / 1000) * lengthNow()));
  $("more").addEventListener("toggle", fit);

  // --- drawing

  const hue = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  /** Return the brush of a canvas that has the size of its place on this screen. */
  function brush(canvas, height) {
    const scale = devicePixelRatio || 1, width = canvas.clientWidth;
    canvas.width = Math.max(Math.round(width * scale), 1);
    canvas.height = Math.max(Math.round(height * scale), 1);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    return [pen, width];
  }

  const peaks = new Map();
  function peaksOf(key, sound) {
    const name = `${sound} ${key}`, drawn = DRAWINGS[key]?.[sound];
    if (drawn && !peaks.has(name)) peaks.set(name, new Int8Array(bytesOf(drawn).buffer));
    return peaks.get(name);
  }

  function drawWaves() {
    if (!current) return;
    const total = lengthNow(), part = total && playing() ? playing().currentTime / total : 0;
    for (const wave of $("lanes").querySelectorAll(".wave")) {
      const sound = wave.dataset.wave, [pen, width] = brush(wave.firstChild, wave.clientHeight);
      drawWave(pen, width, wave.clientHeight, peaksOf(current.key, sound), part, sound === current.active);
    }
  }

  function drawWave(pen, width, height, found, part, isActive) {
    const heard = hue(isActive ? "accent" : "faint"), rest = hue(isActive ? "level-0" : "line"), middle = height / 2;
    const steps = found ? found.length / 2 : 0;
    if (!steps) {
      pen.fillStyle = rest;
      pen.fillRect(0, middle - 2, width, 4);
      pen.fillStyle = heard;
      pen.fillRect(0, middle - 2, width * part, 4);
    }
    for (let n = 0; n < steps; n += 1) {
      const low = found[2 * n] / 127, high = found[2 * n + 1] / 127;
      pen.fillStyle = n / steps < part ? heard : rest;
      pen.fillRect((n * width) / steps, middle - high * middle, Math.max(width / steps - 0.6, 0.6), Math.max((high - low) * middle, 1));
    }
    pen.fillStyle = hue("ink");
    if (isActive) pen.fillRect(Math.min(part * width, width - 1.5), 0, 1.5, height);
  }

  // --- charts; all have the same time below them

  let domain = null; // [from, to] in milliseconds

  function findDomain() {
    let from = Infinity, to = -Infinity;
    const note = (low, high) => { from = Math.min(from, low); to = Math.max(to, high); };
    for (const series of [totals.throughput, totals.pace]) if (series) note(series.from * 1000, (series.from + series.step_s * lengthOf(series)) * 1000);
    for (let n = 0; n < count(); n += 1) {
      if (columns.state[n] === "skipped" || columns.finished_at[n] === null) continue;
      note(columns.started_at[n] ?? columns.submitted_at[n] ?? columns.finished_at[n], columns.finished_at[n]);
    }
    domain = to > from ? [from, to] : null;
  }
  const lengthOf = (series) => Math.max(...Object.values(series).map((column) => (Array.isArray(column) ? column.length : 0)));

  const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000];
  function ticks(width) {
    const span = (domain[1] - domain[0]) / 1000, most = Math.max(2, Math.floor(width / 110));
    const size = (STEPS_S.find((each) => span / each <= most) ?? span / most) * 1000;
    const shift = new Date(domain[0]).getTimezoneOffset() * 60000, found = [];
    for (let at = Math.ceil((domain[0] - shift) / size) * size + shift; at <= domain[1]; at += size) found.push(at);
    const parts = size >= 86400000 ? { month: "short", day: "numeric" } : size >= 60000 ? { hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit", second: "2-digit" };
    const form = new Intl.DateTimeFormat(undefined, parts);
    return found.map((at) => [at, form.format(at)]);
  }

  // Room around a drawing for its labels, which grow with the text of the page.
  const labelSize = () => parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.72;
  const margin = () => ({ left: labelSize() * 3.8, right: 8, top: 6, bottom: labelSize() * 2.1 });

  /** Draw the axes of a chart, and return its scales. */
  function axes(canvas, height, most, unit) {
    const [pen, width] = brush(canvas, height);
    const size = labelSize(), { left, right: gap, top: head, bottom: foot } = margin();
    const right = width - gap, bottom = height - foot, span = domain[1] - domain[0];
    const x = (at) => left + ((at - domain[0]) / span) * (right - left);
    const y = (value) => bottom - (value / most) * (bottom - head);
    pen.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillStyle = hue("soft");
    pen.strokeStyle = hue("line");
    for (const [at, label] of ticks(width)) {
      pen.beginPath(); pen.moveTo(x(at), head); pen.lineTo(x(at), bottom); pen.stroke();
      const wide = pen.measureText(label).width;
      pen.fillText(label, Math.min(Math.max(x(at) - wide / 2, 0), width - wide), height - size * 0.4);
    }
    if (unit !== null) {
      for (const value of [0, most / 2, most]) {
        pen.beginPath(); pen.moveTo(left, y(value)); pen.lineTo(right, y(value)); pen.stroke();
        const label = round(value) + unit;
        pen.fillText(label, left - 6 - pen.measureText(label).width, Math.max(y(value) + size / 3, size));
      }
    }
    return { pen, width, x, y, bottom };
  }

  const round = (value) => (value >= 100 || Number.isInteger(value) ? number.format(Math.round(value)) : value.toFixed(value < 1 ? 2 : 1));
  function nice(value) {
    const unit = 10 ** Math.floor(Math.log10(value || 1));
    return ([1, 2, 4, 6, 8, 10].find((each) => each * unit >= value) ?? 10) * unit;
  }

  /** Fill a figure: title, legend, drawing, and the numbers as a table. */
  function figure(id, title, legend, label, draw, numbers, summary = "Numbers") {
    const found = $(id);
    const list = make("ul", { class: "legend" }, ...legend.map(([name, key]) => make("li", {}, make("i", STATES.includes(key) ? { "data-state": key } : { "data-hue": key }), name)));
    const plot = make("div", { class: "plot" });
    found.replaceChildren(make("figcaption", {}, make("h3", {}, title), list), plot);
    if (!draw) { plot.append(make("p", { class: "empty" }, label)); return null; }
    const canvas = make("canvas", { role: "img", "aria-label": label });
    plot.append(canvas);
    if (numbers) {
      const details = make("details", {}, make("summary", {}, summary));
      details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(numbers()); });
      found.append(details);
    }
    draw(canvas);
    return plot;
  }

  const MOST_BARS = 60;

  /** Return a series with fewer and longer steps, so that its bars can be told apart. */
  function coarser(series, sums, lows = []) {
    const times = Math.ceil(lengthOf(series) / MOST_BARS), found = { from: series.from, step_s: series.step_s * times };
    const parts = (column) => Array.from({ length: Math.ceil(column.length / times) }, (_, n) => column.slice(n * times, (n + 1) * times).filter((value) => value !== null));
    for (const name of sums) found[name] = parts(series[name]).map((part) => part.reduce((a, b) => a + b, 0));
    for (const name of lows) found[name] = parts(series[name]).map((part) => (part.length ? Math.min(...part) : null));
    return found;
  }

  function seriesTable(series, names, unit) {
    const rows = [];
    for (let n = 0; n < lengthOf(series); n += 1) {
      const values = names.map(([, key]) => series[key]?.[n] ?? 0);
      if (values.some(Boolean)) rows.push(make("tr", {}, make("th", { scope: "row" }, short.format((series.from + n * series.step_s) * 1000)), ...values.map((value) => make("td", {}, round(value)))));
    }
    const head = make("tr", {}, make("th", { scope: "col" }, `Time (steps of ${unit})`), ...names.map(([name]) => make("th", { scope: "col" }, name)));
    return make("div", { class: "numbers", tabindex: "0" }, make("table", { class: "sums" }, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  const stepText = (seconds) => (seconds < 120 ? counted(seconds, "second") : seconds < 7200 ? `${round(seconds / 60)} minutes` : `${round(seconds / 3600)} hours`);

  function drawThroughput() {
    if (!totals.throughput || !domain) return figure("throughput", "Jobs per minute", [], "No job has ended.", null);
    const series = coarser(totals.throughput, ["accepted", "succeeded", "failed"]);
    const names = [["succeeded", "succeeded"], ["failed", "failed"], ["accepted", "accepted"]];
    const size = series.step_s, per = 60 / size;
    const sums = series.succeeded.map((value, n) => value + series.failed[n]);
    const most = nice(Math.max(...sums, ...series.accepted, 1e-9) * per);
    const total = sums.reduce((a, b) => a + b, 0);
    return figure("throughput", "Jobs per minute", [["succeeded", "succeeded"], ["failed", "failed"], ["accepted", "accent"]],
      `${counted(total, "job")} ended; at most ${round(Math.max(...sums) * per)} per minute.`,
      (canvas) => {
        const { pen, x, y, bottom } = axes(canvas, 190, most, "");
        sums.forEach((sum, n) => {
          const left = x((series.from + n * size) * 1000), wide = Math.max(x((series.from + (n + 1) * size) * 1000) - left - 0.6, 1);
          pen.fillStyle = hue("failed");
          pen.fillRect(left, y(sum * per), wide, bottom - y(sum * per));
          pen.fillStyle = hue("succeeded");
          pen.fillRect(left, y(series.succeeded[n] * per), wide, bottom - y(series.succeeded[n] * per));
        });
        stairs(pen, series, series.accepted.map((value) => value * per), x, y, hue("accent"));
      }, () => seriesTable(series, names, stepText(size)));
  }

  function stairs(pen, series, values, x, y, colour) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1.6;
    pen.beginPath();
    let isDown = false;
    values.forEach((value, n) => {
      if (value === null) { isDown = false; return; }
      const left = x((series.from + n * series.step_s) * 1000), right = x((series.from + (n + 1) * series.step_s) * 1000);
      if (isDown) pen.lineTo(left, y(value)); else pen.moveTo(left, y(value));
      pen.lineTo(right, y(value));
      isDown = true;
    });
    pen.stroke();
  }

  function drawPace() {
    const title = "Submits per second and rate limit";
    if (!totals.pace || !domain) return figure("pace", title, [], "The rate limit of this run was not recorded.", null);
    const series = coarser(totals.pace, ["sent", "throttled"], ["rate_per_s"]);
    const size = series.step_s, sent = series.sent.map((value) => value / size), throttled = series.throttled.map((value) => value / size);
    let last = null;
    const rates = series.rate_per_s.map((value) => (last = value ?? last));
    const most = nice(Math.max(...sent, ...throttled, ...rates.map((rate) => rate ?? 0), 1e-9));
    const refused = series.throttled.reduce((a, b) => a + b, 0);
    return figure("pace", title, [["sent", "level-0"], ["throttled", "throttled"], ["rate limit", "accent"]],
      `${counted(series.sent.reduce((a, b) => a + b, 0), "submit")}, ${number.format(refused)} of them throttled; the rate limit was ${round(Math.min(...rates.filter((rate) => rate !== null)))} to ${round(Math.max(...rates))} per second.`,
      (canvas) => {
        const { pen, x, y, bottom } = axes(canvas, 190, most, "");
        sent.forEach((value, n) => {
          const left = x((series.from + n * size) * 1000), wide = Math.max(x((series.from + (n + 1) * size) * 1000) - left - 0.6, 1);
          pen.fillStyle = hue("level-0");
          pen.fillRect(left, y(value), wide, bottom - y(value));
          pen.fillStyle = hue("throttled");
          pen.fillRect(left, y(throttled[n]), wide, bottom - y(throttled[n]));
        });
        stairs(pen, series, rates, x, y, hue("accent"));
      }, () => seriesTable(series, [["sent", "sent"], ["throttled", "throttled"], ["lowest rate", "rate_per_s"]], stepText(size)));
  }

  const MOST_LANES = 24;

  /** Return [start, end, index] of the jobs that ran, by start. */
  function spans() {
    const found = [];
    for (let n = 0; n < count(); n += 1) {
      const end = columns.finished_at[n], start = columns.started_at[n] ?? columns.submitted_at[n];
      if (columns.state[n] !== "skipped" && end !== null && start !== null) found.push([start, Math.max(end, start), n]);
    }
    return found.sort((a, b) => a[0] - b[0]);
  }

  /** Give each job the first lane that is free: that of the worker which had it, as far as one can know. */
  function lanesOf(jobs) {
    const ends = [], lanes = [];
    for (const [start, end] of jobs) {
      let lane = ends.findIndex((each) => each <= start);
      if (lane < 0) lane = ends.length;
      if (lane >= MOST_LANES) return null;
      ends[lane] = end;
      lanes.push(lane);
    }
    return { lanes, most: ends.length };
  }

  function drawTimeline() {
    const jobs = spans(), levels = [...new Set(jobs.map(([, , n]) => columns.level[n]))].sort((a, b) => b - a);
    const legend = levels.map((level) => [`level ${level}`, `level-${level}`]);
    if (!jobs.length || !domain) return figure("timeline", "Jobs at work", [], "No job has run.", null);
    const found = lanesOf(jobs);
    if (found) drawLanes(jobs, found, legend);
    else drawLoad(jobs, levels, legend);
    return null;
  }

  function drawLanes(jobs, { lanes, most }, legend) {
    const row = most <= 6 ? 24 : most <= 12 ? 16 : 11, { top: head, bottom: foot } = margin();
    const height = most * row + head + foot, boxes = [];
    const plot = figure("timeline", "Jobs by worker and level", jobs.some(([, , n]) => !WELL.has(columns.state[n])) ? [...legend, ["failed", "failed"]] : legend,
      `${counted(jobs.length, "job")} on ${counted(most, "worker")}. The table of jobs has the times of each.`,
      (canvas) => {
        const { pen, x } = axes(canvas, height, 1, null);
        jobs.forEach(([start, end, n], place) => {
          const lane = lanes[place], left = x(start), box = [left, head + lane * row, Math.max(x(end) - left - 1, 2), row - 4];
          pen.fillStyle = hue(`level-${columns.level[n]}`);
          pen.beginPath(); pen.roundRect(...box, Math.min(4, box[2] / 2)); pen.fill();
          if (!WELL.has(columns.state[n])) { pen.fillStyle = hue("failed"); pen.fillRect(box[0], box[1] + box[3] - 4, box[2], 4); }
          boxes.push([...box, n]);
        });
        pen.fillStyle = hue("soft");
        if (row >= 16) for (let lane = 0; lane < most; lane += 1) pen.fillText(String(lane + 1), 8, head + lane * row + row / 2 + 3);
      }, () => make("p", { class: "dim" }, "The service does not say which worker had a job. Jobs at work at the same time are in different lanes."), "About the lanes");
    point(plot, boxes);
  }

  /** Show the name of the job under the pointer; a click opens it. */
  function point(plot, boxes) {
    const tip = make("div", { class: "tip", hidden: true });
    plot.append(tip);
    const hit = (event) => {
      const box = plot.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      return [boxes.findLast(([left, top, wide, high]) => x >= left && x <= left + wide && y >= top - 2 && y <= top + high + 2), x, y, box.width];
    };
    plot.addEventListener("pointermove", (event) => {
      const [found, x, y, width] = hit(event);
      tip.hidden = !found;
      plot.style.cursor = found ? "pointer" : "";
      if (!found) return;
      const n = found[4], took = tookOf(n);
      tip.textContent = `${columns.input_object[n]} · ${columns.state[n]}${took === null ? "" : ` · ${took.toFixed(1)} s`}`;
      tip.style.transform = `translate(${Math.min(x + 10, width - tip.offsetWidth)}px, ${y + 14}px)`;
    });
    plot.addEventListener("pointerleave", () => { tip.hidden = true; });
    plot.addEventListener("click", (event) => { const [found] = hit(event); if (found) open(found[4], false); });
  }

  /** Draw how many jobs were at work, by level, where there are too many for a lane each. */
  function drawLoad(jobs, levels, legend) {
    const steps = 480, size = (domain[1] - domain[0]) / steps;
    const loads = Object.fromEntries(levels.map((level) => [level, new Float64Array(steps + 1)]));
    for (const [start, end, n] of jobs) {
      const load = loads[columns.level[n]];
      load[Math.floor((start - domain[0]) / size)] += 1;
      load[Math.min(Math.floor((end - domain[0]) / size) + 1, steps)] -= 1;
    }
    let peak = 0;
    for (const load of Object.values(loads)) for (let n = 1; n <= steps; n += 1) load[n] += load[n - 1];
    for (let n = 0; n < steps; n += 1) peak = Math.max(peak, levels.reduce((sum, level) => sum + loads[level][n], 0));
    figure("timeline", "Jobs at work, by level", legend, `Up to ${counted(peak, "job")} at work at the same time.`, (canvas) => {
      const { pen, x, y } = axes(canvas, 220, nice(peak), "");
      const below = new Float64Array(steps);
      for (const level of levels) {
        pen.fillStyle = hue(`level-${level}`);
        for (let n = 0; n < steps; n += 1) {
          const left = x(domain[0] + n * size), high = below[n] + loads[level][n];
          if (high > below[n]) pen.fillRect(left, y(high), x(domain[0] + (n + 1) * size) - left + 0.3, y(below[n]) - y(high));
          below[n] = high;
        }
      }
    });
  }

  function drawAll() {
    findDomain();
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    $("zone").textContent = domain ? `${instant(domain[0])} to ${instant(domain[1])}, in this machine's time zone (${zone}).` : "";
    drawTimeline();
    drawThroughput();
    drawPace();
    drawWaves();
  }

  let drawing = 0;
  function drawSoon() { if (!drawing) drawing = setTimeout(() => { drawing = 0; showChips(); drawAll(); }, 500); }

  // --- totals

  const FORMS = { count: (value) => (value === null ? "–" : number.format(value)), length, money: (value) => money(value, totals.currency) };

  function showTotals() {
    const values = { ...totals, ...totals.states, cost: totals.cost_value, calls: totals.calls_total };
    for (const data of document.querySelectorAll("data[data-name]")) {
      const value = values[data.dataset.name] ?? null;
      data.value = value === null ? "" : String(value);
      data.textContent = FORMS[data.dataset.form](value);
      const tile = data.closest(".tile");
      if ("optional" in tile.dataset) tile.hidden = !value;
    }
    document.querySelector(".verdict").dataset.verdict = totals.verdict;
    document.querySelector('[data-name="verdict_text"]').textContent = totals.verdict_text;
    document.querySelector('[data-name="period"]').textContent = totals.opened_at ? ` · ${instant(Date.parse(totals.opened_at))}` : "";
    $("notes").replaceChildren(...(totals.notes ?? []).map((note) => make("li", {}, note)));
    if (PLACES.links) {
      const left = PLACES.links.expires_at - Date.now();
      const when = left > 0 ? `Sounds play by links until ${instant(PLACES.links.expires_at)}. Until then whoever has this page can read them.` : `The links to the sounds expired at ${instant(PLACES.links.expires_at)}. Write the page again with --links.`;
      $("notes").append(make("li", { id: "expiry" }, when));
    }
    showBar();
    showFailures();
    showSums();
  }

  function showBar() {
    const parts = [...STATES.map((state) => [state, totals.states[state] ?? 0]), ["open", totals.open ?? 0]].filter(([, n]) => n);
    $("bar").setAttribute("aria-label", parts.map(([state, n]) => `${number.format(n)} ${state}`).join(", ") || "no jobs");
    $("bar").replaceChildren(...parts.map(([state, n]) => {
      const found = make("span", { "data-state": state, title: `${number.format(n)} ${state}` });
      found.style.flex = `${n} 1 0`;
      return found;
    }));
  }

  function showFailures() {
    $("failures").hidden = !totals.failures.length;
    const groups = totals.failures.map((group) => {
      const show = make("button", { type: "button" }, "Show these jobs");
      show.addEventListener("click", () => {
        $("filter").reset();
        wanted.states = new Set([group.state]);
        $("code").value = group.code;
        readFilter();
        $("jobs").scrollIntoView();
        $("search").focus({ preventScroll: true });
      });
      const more = group.jobs - group.examples.length;
      const names = group.examples.flatMap((name, n) => [n ? ", " : "", make("bdi", {}, name)]);
      return make("div", { class: "group", "data-state": group.state },
        make("h3", {}, sign(group.state), [group.state, group.code].filter(Boolean).join(" "), `: ${counted(group.jobs, "job")}`),
        make("p", { class: "message" }, group.message), make("p", { class: "advice" }, group.advice || "See the message."),
        make("p", { class: "examples" }, ...names, more > 0 ? ` and ${number.format(more)} more` : ""), show);
    });
    if (totals.more_failures) groups.push(make("p", { class: "dim" }, `And ${counted(totals.more_failures, "job")} with other codes.`));
    $("groups").replaceChildren(...groups);
  }

  function showSums() {
    const found = [];
    const cost = (part) => [round(part.minutes?.actual ?? 0), money(part.cost?.actual, totals.currency), part.cost?.estimated === null || part.cost?.estimated === undefined ? "–" : money(part.cost.estimated, totals.currency)];
    const rows = [];
    if (totals.minutes) rows.push(["All", totals.states.succeeded, ...cost(totals)]);
    for (const [name, part] of Object.entries(totals.by_level ?? {})) rows.push([`Level ${name}`, part.jobs, ...cost(part)]);
    if (Object.keys(totals.by_source ?? {}).length > 1) for (const [name, part] of Object.entries(totals.by_source)) rows.push([name, part.jobs, ...cost(part)]);
    if (rows.length) found.push(sums("Output and cost", ["Jobs", "Minutes", "Cost", "Estimated"], rows));
    const words = { submits: "Submits", queries: "Queries", lists: "Lists", heads: "Checks of stems" };
    if (totals.calls) found.push(sums("Calls", ["Calls"], Object.entries(words).map(([name, word]) => [word, totals.calls[name] ?? 0])));
    $("spending").hidden = !found.length;
    $("sums").replaceChildren(...found);
  }

  function sums(title, heads, rows) {
    const cell = (value, place) => (place ? make("td", {}, typeof value === "number" ? number.format(value) : text(value)) : make("th", { scope: "row" }, make("bdi", {}, value)));
    return make("figure", {}, make("figcaption", {}, make("h3", {}, title)),
      make("div", { class: "scroll", role: "group", "aria-label": title, tabindex: "0" }, make("table", { class: "sums" },
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, make("span", { class: "hidden" }, "Part")), ...heads.map((head) => make("th", { scope: "col" }, head)))),
        make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell)))))));
  }

  /** Take changed totals, under the names that they have in the document. */
  function takeTotals(change) {
    totals = { ...totals, ...change };
    showTotals();
    drawSoon();
  }

  // --- theme and keys

  const THEMES = ["system", "light", "dark"];
  function setTheme(name) {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    $("theme").textContent = `Theme: ${name}`;
    try { localStorage.setItem("orchestrator-theme", name); } catch { /* the browser keeps nothing */ }
  }
  function storedTheme() {
    try { return localStorage.getItem("orchestrator-theme") ?? "system"; } catch { return "system"; }
  }
  $("theme").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
  $("help").addEventListener("click", () => $("keys").showModal());

  const KEYS = {
    " ": () => toggle(), k: () => toggle(), l: () => setLoop(!settings.loop), n: () => step(1), p: () => step(-1),
    1: () => hear("input"), 2: () => hear("voice"), 3: () => hear("background"),
    ArrowLeft: () => seekTo((playing()?.currentTime ?? 0) - 5), ArrowRight: () => seekTo((playing()?.currentTime ?? 0) + 5),
    "-": () => setVolume(settings.volume - 0.1), "+": () => setVolume(settings.volume + 0.1), "=": () => setVolume(settings.volume + 0.1),
    Escape: close,
  };

  function onRow(event) {
    const place = view.indexOf(cursor ?? view[0]), page = Math.max(Math.floor(innerHeight / (rowHeight || 44)) - 3, 1);
    const to = { ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + page, PageUp: place - page, Home: 0, End: view.length - 1 }[event.key];
    if (to !== undefined) { moveTo(to); return true; }
    if (event.key !== "Enter") return false;
    open(view[place], true);
    return true;
  }

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
    const field = event.target.closest?.("input, select, textarea, dialog, summary"), row = event.target.closest?.("#rows tr");
    const isButton = event.target.closest?.("button, a");
    if (field && !(event.key === "Escape" && field.type === "range")) {
      if (event.key === "Escape" && field.id === "search") field.blur();
      return;
    }
    let isDone = true;
    if (event.key === "/") { $("search").focus(); $("search").select(); }
    else if (event.key === "?") $("keys").showModal();
    else if (row && event.target === row && onRow(event)) { /* done */ }
    else if (event.target.getAttribute?.("role") === "radio" && /^Arrow(Up|Down)$/.test(event.key)) {
      const sounds = Object.keys(current.sounds), place = sounds.indexOf(current.active) + (event.key === "ArrowDown" ? 1 : -1);
      hear(sounds[(place + sounds.length) % sounds.length]);
      $("lanes").querySelector('[aria-checked="true"]').focus();
    } else if (current && KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key] && !(isButton && event.key === " ")) {
      KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]();
    } else if (row && event.target === row && event.key === " ") open(view[view.indexOf(cursor ?? view[0])], true);
    else isDone = false;
    if (isDone) event.preventDefault();
  });
  $("rows").addEventListener("focusin", (event) => {
    const row = event.target.closest("tr");
    for (const [n, each] of shown) if (each === row) cursor = n;
  });

  // --- begin

  function build() {
    $("heads").append(...HEADS.map(({ name, title, css, value }) => {
      const cell = make("th", { role: "columnheader", scope: "col", class: css, "data-name": name });
      const button = value ? make("button", { type: "button" }, title) : make("span", { class: "hidden" }, title);
      if (value) button.addEventListener("click", () => sortBy(name));
      cell.append(button);
      return cell;
    }));
    $("filter").addEventListener("submit", (event) => event.preventDefault());
    $("filter").addEventListener("reset", () => { wanted.states.clear(); setTimeout(readFilter); });
    for (const id of ["search", "level", "code"]) $(id).addEventListener("input", readFilter);
    addEventListener("hashchange", () => { recallFilter(); readFilter(); });
    $("written").textContent = instant(Date.parse($("written").dateTime));
  }

  async function begin() {
    setTheme(THEMES.includes(storedTheme()) ? storedTheme() : "system");
    build();
    showTotals();
    const parts = [...document.querySelectorAll("script.part")].map((part) => {
      const packed = unpack(part.textContent);
      part.remove(); // its text is no longer needed, and takes as much memory as the file
      return packed;
    });
    for (const part of parts) {
      const isFirst = !count();
      takePart(await part);
      if (isFirst) refresh();
    }
    showChips();
    recallFilter();
    readFilter();
    drawAll();
    document.body.dataset.ready = "yes";
  }

  const ready = begin().catch((error) => {
    $("count").textContent = `The rows cannot be read (${error.message}). A newer browser may be needed: Chrome 103, Firefox 113, Safari 16.4.`;
    throw error;
  });
  window.reportPage = { put, totals: takeTotals, row: (key) => (indexOf(key) === undefined ? null : rowAt(indexOf(key))), rows: () => columns.key.map((_, n) => rowAt(n)), ready };
})();
