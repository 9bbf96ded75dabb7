// The beginning, and what a program may call.

function build() {
  $("heads").append(
    ...HEADS.map(({ name, title, css, value }) => {
      const cell = make("th", {
        role: "columnheader",
        scope: "col",
        class: css,
        "data-name": name,
      });
      const button = value
        ? make("button", { type: "button" }, title)
        : make("span", { class: "hidden" }, title);
      if (value) button.addEventListener("click", () => sortBy(name));
      cell.append(button);
      return cell;
    }),
  );
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("filter").addEventListener("reset", () => {
    wanted.states.clear();
    setTimeout(readFilter);
  });
  for (const id of ["search", "level", "code"]) $(id).addEventListener("input", readFilter);
  addEventListener("hashchange", () => {
    recallFilter();
    readFilter();
  });
  $("written").textContent = instant(Date.parse($("written").dateTime));
}

async function begin() {
  setTheme(storedTheme());
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
  $("count").textContent =
    `The rows cannot be read (${error.message}). ` +
    "A newer browser may be needed: Chrome 103, Firefox 113, Safari 16.4.";
  throw error;
});
window.reportPage = {
  put,
  totals: takeTotals,
  row: (key) => (indexOf(key) === undefined ? null : rowAt(indexOf(key))),
  rows: () => columns.key.map((_, n) => rowAt(n)),
  ready,
};
