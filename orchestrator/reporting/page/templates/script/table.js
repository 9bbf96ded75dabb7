// The table: only the rows in view are in the document, and at least FEW of them.

const shown = new Map(); // rows of the document, by index
const FEW = 60; // at least so many rows are in the document, also while the table is out of view
const SPARE = 12; // rows above and below those in view
const MOST_PRINTED = 1000;
let rowHeight = 0,
  top = 0,
  isPrinting = false,
  cursor = null;

function buildRow(n) {
  const at = (name) => columns[name][n];
  const state = at("state"),
    name = text(at("input_object"));
  const row = make("tr", {
    role: "row",
    "data-key": at("key"),
    "data-state": state,
    tabindex: "-1",
  });
  const listen = make(
    "button",
    { type: "button", class: "round", tabindex: "-1", "aria-label": `Play ${name}` },
    icon("play"),
  );
  listen.addEventListener("click", (event) => {
    event.stopPropagation();
    open(n, true);
  });
  const first = make("td", { role: "cell", class: "listen" }, listen);
  const sounds = current && current.key === at("key") ? current.sounds : soundsOf(n);
  first.append(...Object.values(sounds));
  if (!Object.keys(sounds).length) {
    listen.replaceChildren(icon("info"));
    listen.setAttribute("aria-label", `Details of ${name}`);
  }
  const took = tookOf(n);
  row.append(
    first,
    make("td", { role: "cell", class: "name", title: name }, make("bdi", {}, name)),
    make("td", { role: "cell", class: "state" }, sign(state), state.replace("_", " ")),
    make("td", { role: "cell", class: "num wide" }, text(at("level"))),
    make("td", { role: "cell", class: "num sound" }, length(at("media_duration_s"))),
    make(
      "td",
      { role: "cell", class: "num wide dim" },
      took === null ? "–" : took < 10 ? `${took.toFixed(1)} s` : length(took),
    ),
    make(
      "td",
      { role: "cell", class: "wide dim" },
      at("finished_at") === null ? "–" : short.format(at("finished_at")),
    ),
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
    found[sound] = make("audio", {
      "data-stem": sound,
      preload: "none",
      src: address,
      "aria-label": `${TITLES[sound]} of ${text(columns.input_object[n])}`,
    });
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
  return [
    from,
    Math.min(
      Math.max(Math.ceil((innerHeight - start) / rowHeight) + SPARE, from + FEW),
      view.length,
    ),
  ];
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
  const chosen = view.slice(from, to),
    keep = new Set(chosen);
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

/** Scroll so far that a row of the view can be seen, above the player. */
function reveal(place) {
  const high = $("heads").offsetHeight,
    low = innerHeight - ($("dock").hidden ? 0 : $("dock").offsetHeight),
    y = $("above").getBoundingClientRect().top + place * rowHeight;
  if (y < high) scrollBy(0, y - high);
  else if (y + rowHeight > low) scrollBy(0, y + rowHeight - low + 4);
}

/** Move to a row of the view, by its place. */
function moveTo(place) {
  const to = Math.max(0, Math.min(place, view.length - 1));
  if (!view.length) return;
  cursor = view[to];
  reveal(to);
  render(true);
  shown.get(cursor)?.focus({ preventScroll: true });
}

let frame = 0;
const soon = (act) => () => {
  if (!frame)
    frame = requestAnimationFrame(() => {
      frame = 0;
      act();
    });
};
addEventListener(
  "scroll",
  soon(() => render()),
  { passive: true },
);
addEventListener(
  "resize",
  soon(() => {
    rowHeight = 0;
    for (const n of [...shown.keys()]) drop(n);
    render(true);
    drawAll();
  }),
);
addEventListener("beforeprint", () => {
  isPrinting = true;
  render(true);
  const more = view.length - MOST_PRINTED;
  $("print-note").hidden = more <= 0;
  $("print-note").textContent =
    `… and ${counted(more, "more job")}. Filter the rows to print others.`;
  drawIn("light"); // drawings keep the colours in which they were drawn
});
addEventListener("afterprint", () => {
  isPrinting = false;
  $("print-note").hidden = true;
  render(true);
  drawIn(theme);
});
