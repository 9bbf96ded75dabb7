// Elements, icons and text.
//
// The files of this folder become one script, in the order that writer.py has. No library, no
// network: everything is in the document. For a program that shows a run while it works,
// window.reportPage has two functions:
//   put(rows)       takes new and changed rows, as they are in the report (one object per job)
//   totals(change)  takes changed totals, under the names of the totals in the document
// and two to read: row(key) and rows(). ready is a promise: all rows were read.

const $ = (id) => document.getElementById(id);
const json = (id) => JSON.parse($(id).textContent);
const COLUMNS = json("columns");
const PLACES = json("places");
const DRAWINGS = json("drawings");
let totals = json("totals");

const STATES = ["succeeded", "skipped", "failed", "rejected", "cancelled", "unfinished"];
const WELL = new Set(["succeeded", "skipped"]);
const SIGNS = {
  succeeded: "✓",
  skipped: "↷",
  failed: "✕",
  rejected: "⊘",
  cancelled: "–",
  unfinished: "?",
};
const STEMS = ["voice", "background", "bass", "drums"];
const SOUNDS = ["input", "voice", "background"];
const TITLES = { input: "Input", voice: "Voice", background: "Background" };

/** Return an element with attributes and children; text is never read as HTML. */
function make(name, attributes = {}, ...children) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) found.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined)
      found.setAttribute(key, value);
  }
  found.append(...children);
  return found;
}

const SHAPES = {
  play: "M7 4v16l13-8z",
  pause: "M6 4h4v16H6zM14 4h4v16h-4z",
  info: "M11 10h2v8h-2zM11 6h2v2h-2z",
};
function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"),
    path = document.createElementNS(svg.namespaceURI, "path");
  for (const [key, value] of [
    ["class", "icon"],
    ["viewBox", "0 0 24 24"],
    ["aria-hidden", "true"],
    ["focusable", "false"],
  ])
    svg.setAttribute(key, value);
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
  const whole = Math.max(Math.round(seconds), 0),
    hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const instant = (ms) => (ms === null || ms === undefined ? "–" : moment.format(ms));
const TWO_DIGITS = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
const money = (value, currency) =>
  value === null || value === undefined
    ? "–"
    : !value
      ? "free"
      : `${value.toLocaleString("en", TWO_DIGITS)} ${currency}`;
