// Totals, failures, cost and calls.

const FORMS = {
  count: (value) => (value === null ? "–" : number.format(value)),
  length,
  money: (value) => money(value, totals.currency),
};

function showTotals() {
  const values = {
    ...totals,
    ...totals.states,
    cost: totals.cost_value,
    calls: totals.calls_total,
  };
  for (const data of document.querySelectorAll("data[data-name]")) {
    const value = values[data.dataset.name] ?? null;
    data.value = value === null ? "" : String(value);
    data.textContent = FORMS[data.dataset.form](value);
    const tile = data.closest(".tile");
    if ("optional" in tile.dataset) tile.hidden = !value;
  }
  document.querySelector(".verdict").dataset.verdict = totals.verdict;
  document.querySelector('[data-name="verdict_text"]').textContent = totals.verdict_text;
  document.querySelector('[data-name="period"]').textContent = totals.opened_at
    ? ` · ${instant(Date.parse(totals.opened_at))}`
    : "";
  $("notes").replaceChildren(...(totals.notes ?? []).map((note) => make("li", {}, note)));
  if (PLACES.links) {
    const end = instant(PLACES.links.expires_at);
    const text = haveLinksExpired()
      ? `The links to the sounds expired at ${end}. Write the page again with --links.`
      : `Sounds play by links until ${end}. Until then whoever has this page can read them.`;
    $("notes").append(make("li", { id: "expiry" }, text));
  }
  showBar();
  showFailures();
  showSums();
}

function showBar() {
  const parts = [
    ...STATES.map((state) => [state, totals.states[state] ?? 0]),
    ["open", totals.open ?? 0],
  ].filter(([, n]) => n);
  $("bar").setAttribute(
    "aria-label",
    parts.map(([state, n]) => `${number.format(n)} ${state}`).join(", ") || "no jobs",
  );
  $("bar").replaceChildren(
    ...parts.map(([state, n]) => {
      const found = make("span", { "data-state": state, title: `${number.format(n)} ${state}` });
      found.style.flex = `${n} 1 0`;
      return found;
    }),
  );
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
    return make(
      "div",
      { class: "group", "data-state": group.state },
      make(
        "h3",
        {},
        sign(group.state),
        [group.state, group.code].filter(Boolean).join(" "),
        `: ${counted(group.jobs, "job")}`,
      ),
      make("p", { class: "message" }, group.message),
      make("p", { class: "advice" }, group.advice || "See the message."),
      make(
        "p",
        { class: "examples" },
        ...names,
        more > 0 ? ` and ${number.format(more)} more` : "",
      ),
      show,
    );
  });
  if (totals.more_failures)
    groups.push(
      make("p", { class: "dim" }, `And ${counted(totals.more_failures, "job")} with other codes.`),
    );
  $("groups").replaceChildren(...groups);
}

function showSums() {
  const found = [];
  const cost = (part) => [
    round(part.minutes?.actual ?? 0),
    money(part.cost?.actual, totals.currency),
    part.cost?.estimated === null || part.cost?.estimated === undefined
      ? "–"
      : money(part.cost.estimated, totals.currency),
  ];
  const rows = [];
  if (totals.minutes) rows.push(["All", totals.states.succeeded, ...cost(totals)]);
  for (const [name, part] of Object.entries(totals.by_level ?? {}))
    rows.push([`Level ${name}`, part.jobs, ...cost(part)]);
  if (Object.keys(totals.by_source ?? {}).length > 1)
    for (const [name, part] of Object.entries(totals.by_source))
      rows.push([name, part.jobs, ...cost(part)]);
  if (rows.length)
    found.push(sums("Output and cost", ["Jobs", "Minutes", "Cost", "Estimated"], rows));
  const words = {
    submits: "Submits",
    queries: "Queries",
    lists: "Lists",
    heads: "Checks of stems",
  };
  if (totals.calls)
    found.push(
      sums(
        "Calls",
        ["Calls"],
        Object.entries(words).map(([name, word]) => [word, totals.calls[name] ?? 0]),
      ),
    );
  $("spending").hidden = !found.length;
  $("sums").replaceChildren(...found);
}

function sums(title, heads, rows) {
  const cell = (value, place) =>
    place
      ? make("td", {}, typeof value === "number" ? number.format(value) : text(value))
      : make("th", { scope: "row" }, make("bdi", {}, value));
  return make(
    "figure",
    {},
    make("figcaption", {}, make("h3", {}, title)),
    make(
      "div",
      { class: "scroll", role: "group", "aria-label": title, tabindex: "0" },
      make(
        "table",
        { class: "sums" },
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            make("th", { scope: "col" }, make("span", { class: "hidden" }, "Part")),
            ...heads.map((head) => make("th", { scope: "col" }, head)),
          ),
        ),
        make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell)))),
      ),
    ),
  );
}

/** Take changed totals, under the names that they have in the document. */
function takeTotals(change) {
  totals = { ...totals, ...change };
  showTotals();
  drawSoon();
}
