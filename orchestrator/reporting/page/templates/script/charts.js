// Charts. All have the same time below them.

let domain = null; // [from, to] in milliseconds

function findDomain() {
  let from = Infinity,
    to = -Infinity;
  const note = (low, high) => {
    from = Math.min(from, low);
    to = Math.max(to, high);
  };
  for (const series of [totals.throughput, totals.pace])
    if (series) note(series.from * 1000, (series.from + series.step_s * lengthOf(series)) * 1000);
  for (let n = 0; n < count(); n += 1) {
    if (columns.state[n] === "skipped" || columns.finished_at[n] === null) continue;
    note(
      columns.started_at[n] ?? columns.submitted_at[n] ?? columns.finished_at[n],
      columns.finished_at[n],
    );
  }
  domain = to > from ? [from, to] : null;
}
const lengthOf = (series) =>
  Math.max(...Object.values(series).map((column) => (Array.isArray(column) ? column.length : 0)));

const STEPS_S = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800,
  604800, 1209600, 2592000, 7776000, 31536000,
];
function ticks(width) {
  const span = (domain[1] - domain[0]) / 1000,
    most = Math.max(2, Math.floor(width / 110));
  const size = (STEPS_S.find((each) => span / each <= most) ?? span / most) * 1000;
  const shift = new Date(domain[0]).getTimezoneOffset() * 60000,
    found = [];
  for (let at = Math.ceil((domain[0] - shift) / size) * size + shift; at <= domain[1]; at += size)
    found.push(at);
  const parts =
    size >= 86400000
      ? { month: "short", day: "numeric" }
      : size >= 60000
        ? { hour: "2-digit", minute: "2-digit" }
        : { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const form = new Intl.DateTimeFormat(undefined, parts);
  return found.map((at) => [at, form.format(at)]);
}

// Room around a drawing for its labels, which grow with the text of the page.
const labelSize = () => parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.72;
const margin = () => ({ left: labelSize() * 3.8, right: 8, top: 6, bottom: labelSize() * 2.1 });

/** Draw the axes of a chart, and return its scales. */
function axes(canvas, height, most, unit) {
  const [pen, width] = brush(canvas, height);
  const size = labelSize(),
    { left, right: gap, top: head, bottom: foot } = margin();
  const right = width - gap,
    bottom = height - foot,
    span = domain[1] - domain[0];
  const x = (at) => left + ((at - domain[0]) / span) * (right - left);
  const y = (value) => bottom - (value / most) * (bottom - head);
  pen.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  pen.fillStyle = hue("soft");
  pen.strokeStyle = hue("line");
  for (const [at, label] of ticks(width)) {
    pen.beginPath();
    pen.moveTo(x(at), head);
    pen.lineTo(x(at), bottom);
    pen.stroke();
    const wide = pen.measureText(label).width;
    pen.fillText(label, Math.min(Math.max(x(at) - wide / 2, 0), width - wide), height - size * 0.4);
  }
  if (unit !== null) {
    for (const value of [0, most / 2, most]) {
      pen.beginPath();
      pen.moveTo(left, y(value));
      pen.lineTo(right, y(value));
      pen.stroke();
      const label = round(value) + unit;
      pen.fillText(
        label,
        left - 6 - pen.measureText(label).width,
        Math.max(y(value) + size / 3, size),
      );
    }
  }
  return { pen, width, x, y, bottom };
}

const round = (value) =>
  value >= 100 || Number.isInteger(value)
    ? number.format(Math.round(value))
    : value.toFixed(value < 1 ? 2 : 1);
function nice(value) {
  const unit = 10 ** Math.floor(Math.log10(value || 1));
  return ([1, 2, 4, 6, 8, 10].find((each) => each * unit >= value) ?? 10) * unit;
}

/** Fill a figure: title, legend, drawing, and the numbers as a table. */
function figure(id, title, legend, label, draw, numbers, summary = "Numbers") {
  const found = $(id);
  const list = make(
    "ul",
    { class: "legend" },
    ...legend.map(([name, key]) =>
      make(
        "li",
        {},
        make("i", STATES.includes(key) ? { "data-state": key } : { "data-hue": key }),
        name,
      ),
    ),
  );
  const plot = make("div", { class: "plot" });
  found.replaceChildren(make("figcaption", {}, make("h3", {}, title), list), plot);
  if (!draw) {
    plot.append(make("p", { class: "empty" }, label));
    return null;
  }
  const canvas = make("canvas", { role: "img", "aria-label": label });
  plot.append(canvas);
  if (numbers) {
    const details = make("details", {}, make("summary", {}, summary));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(numbers());
    });
    found.append(details);
  }
  draw(canvas);
  return plot;
}

const MOST_BARS = 60;

/** Return a series with fewer and longer steps, so that its bars can be told apart. */
function coarser(series, sums, lows = []) {
  const times = Math.ceil(lengthOf(series) / MOST_BARS),
    found = { from: series.from, step_s: series.step_s * times };
  const parts = (column) =>
    Array.from({ length: Math.ceil(column.length / times) }, (_, n) =>
      column.slice(n * times, (n + 1) * times).filter((value) => value !== null),
    );
  for (const name of sums)
    found[name] = parts(series[name]).map((part) => part.reduce((a, b) => a + b, 0));
  for (const name of lows)
    found[name] = parts(series[name]).map((part) => (part.length ? Math.min(...part) : null));
  return found;
}

function seriesTable(series, names, unit) {
  const rows = [];
  for (let n = 0; n < lengthOf(series); n += 1) {
    const values = names.map(([, key]) => series[key]?.[n] ?? 0);
    if (values.some(Boolean))
      rows.push(
        make(
          "tr",
          {},
          make("th", { scope: "row" }, short.format((series.from + n * series.step_s) * 1000)),
          ...values.map((value) => make("td", {}, round(value))),
        ),
      );
  }
  const head = make(
    "tr",
    {},
    make("th", { scope: "col" }, `Time (steps of ${unit})`),
    ...names.map(([name]) => make("th", { scope: "col" }, name)),
  );
  return make(
    "div",
    { class: "numbers", tabindex: "0" },
    make("table", { class: "sums" }, make("thead", {}, head), make("tbody", {}, ...rows)),
  );
}

const stepText = (seconds) =>
  seconds < 120
    ? counted(seconds, "second")
    : seconds < 7200
      ? `${round(seconds / 60)} minutes`
      : `${round(seconds / 3600)} hours`;

function drawThroughput() {
  if (!totals.throughput || !domain)
    return figure("throughput", "Jobs per minute", [], "No job has ended.", null);
  const series = coarser(totals.throughput, ["accepted", "succeeded", "failed"]);
  const names = [
    ["succeeded", "succeeded"],
    ["failed", "failed"],
    ["accepted", "accepted"],
  ];
  const size = series.step_s,
    per = 60 / size;
  const sums = series.succeeded.map((value, n) => value + series.failed[n]);
  const most = nice(Math.max(...sums, ...series.accepted, 1e-9) * per);
  const total = sums.reduce((a, b) => a + b, 0);
  return figure(
    "throughput",
    "Jobs per minute",
    [
      ["succeeded", "succeeded"],
      ["failed", "failed"],
      ["accepted", "accent"],
    ],
    `${counted(total, "job")} ended; at most ${round(Math.max(...sums) * per)} per minute.`,
    (canvas) => {
      const { pen, x, y, bottom } = axes(canvas, 190, most, "");
      sums.forEach((sum, n) => {
        const left = x((series.from + n * size) * 1000),
          wide = Math.max(x((series.from + (n + 1) * size) * 1000) - left - 0.6, 1);
        pen.fillStyle = hue("failed");
        pen.fillRect(left, y(sum * per), wide, bottom - y(sum * per));
        pen.fillStyle = hue("succeeded");
        pen.fillRect(
          left,
          y(series.succeeded[n] * per),
          wide,
          bottom - y(series.succeeded[n] * per),
        );
      });
      stairs(
        pen,
        series,
        series.accepted.map((value) => value * per),
        x,
        y,
        hue("accent"),
      );
    },
    () => seriesTable(series, names, stepText(size)),
  );
}

function stairs(pen, series, values, x, y, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.6;
  pen.beginPath();
  let isDown = false;
  values.forEach((value, n) => {
    if (value === null) {
      isDown = false;
      return;
    }
    const left = x((series.from + n * series.step_s) * 1000),
      right = x((series.from + (n + 1) * series.step_s) * 1000);
    if (isDown) pen.lineTo(left, y(value));
    else pen.moveTo(left, y(value));
    pen.lineTo(right, y(value));
    isDown = true;
  });
  pen.stroke();
}

function drawPace() {
  const title = "Submits per second and rate limit";
  if (!totals.pace || !domain)
    return figure("pace", title, [], "The rate limit of this run was not recorded.", null);
  const series = coarser(totals.pace, ["sent", "throttled"], ["rate_per_s"]);
  const size = series.step_s,
    sent = series.sent.map((value) => value / size),
    throttled = series.throttled.map((value) => value / size);
  let last = null;
  const rates = series.rate_per_s.map((value) => (last = value ?? last));
  const most = nice(Math.max(...sent, ...throttled, ...rates.map((rate) => rate ?? 0), 1e-9));
  const [all, refused] = [series.sent, series.throttled].map((each) =>
    each.reduce((a, b) => a + b),
  );
  const known = rates.filter((rate) => rate !== null);
  const limits = known.length
    ? `the rate limit was ${round(Math.min(...known))} to ${round(Math.max(...known))} per second`
    : "the rate limit is not known";
  return figure(
    "pace",
    title,
    [
      ["sent", "level-0"],
      ["throttled", "throttled"],
      ["rate limit", "accent"],
    ],
    `${counted(all, "submit")}, ${number.format(refused)} of them throttled; ${limits}.`,
    (canvas) => {
      const { pen, x, y, bottom } = axes(canvas, 190, most, "");
      sent.forEach((value, n) => {
        const left = x((series.from + n * size) * 1000),
          wide = Math.max(x((series.from + (n + 1) * size) * 1000) - left - 0.6, 1);
        pen.fillStyle = hue("level-0");
        pen.fillRect(left, y(value), wide, bottom - y(value));
        pen.fillStyle = hue("throttled");
        pen.fillRect(left, y(throttled[n]), wide, bottom - y(throttled[n]));
      });
      stairs(pen, series, rates, x, y, hue("accent"));
    },
    () =>
      seriesTable(
        series,
        [
          ["sent", "sent"],
          ["throttled", "throttled"],
          ["lowest rate", "rate_per_s"],
        ],
        stepText(size),
      ),
  );
}

const MOST_LANES = 24;

/** Return [start, end, index] of the jobs that ran, by start. */
function spans() {
  const found = [];
  for (let n = 0; n < count(); n += 1) {
    const end = columns.finished_at[n],
      start = columns.started_at[n] ?? columns.submitted_at[n];
    if (columns.state[n] !== "skipped" && end !== null && start !== null)
      found.push([start, Math.max(end, start), n]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}

/** Give each job the first free lane: that of the worker which had it, as far as one can know. */
function lanesOf(jobs) {
  const ends = [],
    lanes = [];
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
  const jobs = spans(),
    levels = [...new Set(jobs.map(([, , n]) => columns.level[n]))].sort((a, b) => b - a);
  const legend = levels.map((level) => [`level ${level}`, `level-${level}`]);
  if (!jobs.length || !domain)
    return figure("timeline", "Jobs at work", [], "No job has run.", null);
  const found = lanesOf(jobs);
  if (found) drawLanes(jobs, found, legend);
  else drawLoad(jobs, levels, legend);
  return null;
}

function drawLanes(jobs, { lanes, most }, legend) {
  const row = most <= 6 ? 24 : most <= 12 ? 16 : 11,
    { top: head, bottom: foot } = margin();
  const height = most * row + head + foot,
    boxes = [];
  const plot = figure(
    "timeline",
    "Jobs by worker and level",
    jobs.some(([, , n]) => !WELL.has(columns.state[n]))
      ? [...legend, ["failed", "failed"]]
      : legend,
    `${counted(jobs.length, "job")} on ${counted(most, "worker")}. ` +
      "The table of jobs has the times of each.",
    (canvas) => {
      const { pen, x } = axes(canvas, height, 1, null);
      jobs.forEach(([start, end, n], place) => {
        const lane = lanes[place],
          left = x(start),
          box = [left, head + lane * row, Math.max(x(end) - left - 1, 2), row - 4];
        pen.fillStyle = hue(`level-${columns.level[n]}`);
        pen.beginPath();
        pen.roundRect(...box, Math.min(4, box[2] / 2));
        pen.fill();
        if (!WELL.has(columns.state[n])) {
          pen.fillStyle = hue("failed");
          pen.fillRect(box[0], box[1] + box[3] - 4, box[2], 4);
        }
        boxes.push([...box, n]);
      });
      pen.fillStyle = hue("soft");
      if (row >= 16)
        for (let lane = 0; lane < most; lane += 1)
          pen.fillText(String(lane + 1), 8, head + lane * row + row / 2 + 3);
    },
    () =>
      make(
        "p",
        { class: "dim" },
        "The service does not say which worker had a job. " +
          "Jobs at work at the same time are in different lanes.",
      ),
    "About the lanes",
  );
  point(plot, boxes);
}

/** Show the name of the job under the pointer; a click opens it. */
function point(plot, boxes) {
  const tip = make("div", { class: "tip", hidden: true });
  plot.append(tip);
  const hit = (event) => {
    const box = plot.getBoundingClientRect(),
      x = event.clientX - box.left,
      y = event.clientY - box.top;
    return [
      boxes.findLast(
        ([left, top, wide, high]) =>
          x >= left && x <= left + wide && y >= top - 2 && y <= top + high + 2,
      ),
      x,
      y,
      box.width,
    ];
  };
  plot.addEventListener("pointermove", (event) => {
    const [found, x, y, width] = hit(event);
    tip.hidden = !found;
    plot.style.cursor = found ? "pointer" : "";
    if (!found) return;
    const n = found[4],
      took = tookOf(n);
    const facts = [columns.input_object[n], columns.state[n]];
    if (took !== null) facts.push(`${took.toFixed(1)} s`);
    tip.textContent = facts.join(" · ");
    tip.style.transform = `translate(${Math.min(x + 10, width - tip.offsetWidth)}px, ${y + 14}px)`;
  });
  plot.addEventListener("pointerleave", () => {
    tip.hidden = true;
  });
  plot.addEventListener("click", (event) => {
    const [found] = hit(event);
    if (found) open(found[4], false);
  });
}

/** Draw how many jobs were at work, by level, where there are too many for a lane each. */
function drawLoad(jobs, levels, legend) {
  const steps = 480,
    size = (domain[1] - domain[0]) / steps;
  const loads = Object.fromEntries(levels.map((level) => [level, new Float64Array(steps + 1)]));
  for (const [start, end, n] of jobs) {
    const load = loads[columns.level[n]];
    load[Math.floor((start - domain[0]) / size)] += 1;
    load[Math.min(Math.floor((end - domain[0]) / size) + 1, steps)] -= 1;
  }
  let peak = 0;
  for (const load of Object.values(loads))
    for (let n = 1; n <= steps; n += 1) load[n] += load[n - 1];
  for (let n = 0; n < steps; n += 1)
    peak = Math.max(
      peak,
      levels.reduce((sum, level) => sum + loads[level][n], 0),
    );
  figure(
    "timeline",
    "Jobs at work, by level",
    legend,
    `Up to ${counted(peak, "job")} at work at the same time.`,
    (canvas) => {
      const { pen, x, y } = axes(canvas, 220, nice(peak), "");
      const below = new Float64Array(steps);
      for (const level of levels) {
        pen.fillStyle = hue(`level-${level}`);
        for (let n = 0; n < steps; n += 1) {
          const left = x(domain[0] + n * size),
            high = below[n] + loads[level][n];
          if (high > below[n])
            pen.fillRect(
              left,
              y(high),
              x(domain[0] + (n + 1) * size) - left + 0.3,
              y(below[n]) - y(high),
            );
          below[n] = high;
        }
      }
    },
  );
}

function drawAll() {
  findDomain();
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  $("zone").textContent = domain
    ? `${instant(domain[0])} to ${instant(domain[1])}, in this machine's time zone (${zone}).`
    : "";
  drawTimeline();
  drawThroughput();
  drawPace();
  drawWaves();
}

let drawing = 0;
function drawSoon() {
  if (!drawing)
    drawing = setTimeout(() => {
      drawing = 0;
      showChips();
      drawAll();
    }, 500);
}
