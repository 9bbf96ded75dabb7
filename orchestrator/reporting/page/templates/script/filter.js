// The filter of the table, and its order. Both are in the address of the page.

const HEADS = [
  { name: "listen", title: "Listen", css: "listen" },
  {
    name: "object",
    title: "Object",
    css: "name",
    value: (n) => columns.input_object[n].toLowerCase(),
  },
  { name: "state", title: "State", css: "state", value: (n) => STATES.indexOf(columns.state[n]) },
  { name: "level", title: "Level", css: "num wide", value: (n) => columns.level[n] },
  { name: "sound", title: "Sound", css: "num sound", value: (n) => columns.media_duration_s[n] },
  { name: "took", title: "Took", css: "num wide dim", value: (n) => tookOf(n) },
  { name: "finished", title: "Finished", css: "wide dim", value: (n) => columns.finished_at[n] },
  { name: "code", title: "Code", css: "code", value: (n) => columns.code[n] || null },
];
const tookOf = (n) =>
  columns.finished_at[n] === null || columns.submitted_at[n] === null
    ? null
    : (columns.finished_at[n] - columns.submitted_at[n]) / 1000;
const wanted = { words: [], states: new Set(), level: "", code: "", sort: "", down: false };
const orders = new Map(); // the order of all rows by a column, kept: a filter keeps the order
const collator = new Intl.Collator(undefined, { numeric: true });
const MOST_COLLATED = 20000; // numbers inside names are compared as numbers up to this many rows
let view = [];

function orderOf(head) {
  if (!orders.has(head.name)) {
    const values = Array.from({ length: count() }, (_, n) => head.value(n));
    const isText = values.some((value) => typeof value === "string");
    const compare =
      isText && count() <= MOST_COLLATED
        ? collator.compare
        : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    const order = values.map((_, n) => n).filter((n) => values[n] !== null);
    order.sort((a, b) => compare(values[a], values[b]) || a - b);
    orders.set(head.name, {
      order,
      none: values.map((_, n) => n).filter((n) => values[n] === null),
    });
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
  const order = ordered(),
    found = [];
  for (let place = 0; place < count(); place += 1) {
    const n = order ? order[place] : place;
    if (matches(n)) found.push(n);
  }
  view = found;
  const all = number.format(count());
  const parts = totals.jobs > count() ? ` (${number.format(totals.jobs)} in the run)` : "";
  $("count").textContent =
    (view.length === count()
      ? `${counted(count(), "job")}`
      : `${number.format(view.length)} of ${all} jobs`) + parts;
  $("table").setAttribute("aria-rowcount", view.length + 1);
  render(true);
}

function readFilter() {
  wanted.words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  wanted.level = $("level").value;
  wanted.code = $("code").value;
  for (const chip of $("chips").children)
    chip.setAttribute("aria-pressed", wanted.states.has(chip.dataset.state));
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
  if (location.hash.slice(1) !== hash)
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

function recallFilter() {
  const found = new URLSearchParams(location.hash.slice(1));
  $("search").value = found.get("q") ?? "";
  wanted.states = new Set(
    (found.get("state") ?? "").split(",").filter((state) => STATES.includes(state)),
  );
  for (const name of ["level", "code"]) $(name).value = found.get(name) ?? "";
  const sort = found.get("sort") ?? "";
  wanted.down = sort.startsWith("-");
  wanted.sort = HEADS.some(({ name, value }) => value && name === sort.replace("-", ""))
    ? sort.replace("-", "")
    : "";
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
    const direction =
      cell.dataset.name !== wanted.sort ? "none" : wanted.down ? "descending" : "ascending";
    if (cell.dataset.name !== "listen") cell.setAttribute("aria-sort", direction);
  }
}

function showChips() {
  const counts = {};
  for (const state of columns.state) counts[state] = (counts[state] ?? 0) + 1;
  $("chips").replaceChildren(
    ...Object.keys(counts)
      .sort((a, b) => STATES.indexOf(a) - STATES.indexOf(b))
      .map((state) => {
        const chip = make(
          "button",
          { type: "button", "data-state": state, "aria-pressed": wanted.states.has(state) },
          sign(state),
          state.replace("_", " "),
          make("b", {}, number.format(counts[state])),
        );
        chip.addEventListener("click", () => {
          if (!wanted.states.delete(state)) wanted.states.add(state);
          readFilter();
        });
        return chip;
      }),
  );
  options(
    "level",
    [...new Set(columns.level)].sort((a, b) => b - a),
  );
  const codes = [...new Set(columns.code)].filter(Boolean).sort();
  options("code", codes);
  $("code-pick").hidden = !codes.length;
}

function options(id, values) {
  const chosen = $(id).value;
  $(id).replaceChildren(
    make("option", { value: "" }, "all"),
    ...values.map((value) => make("option", { value }, String(value))),
  );
  $(id).value = chosen;
}

const sign = (state) =>
  make("span", { class: "sign", "data-state": state, "aria-hidden": "true" }, SIGNS[state] ?? "◌");
