/* Keeps the page up to date while a run works: the server sends events, the page shows them. */
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const page = window.reportPage;
  const number = new Intl.NumberFormat("en");
  const STAGES = ["running", "queued", "waiting", "in doubt"];
  const STATE = {
    open: "Live",
    lost: "Connection lost; trying again",
    over: "The run has ended. This page is complete and stays as it is.",
  };

  function length(seconds) {
    const whole = Math.max(Math.round(seconds), 0);
    const pad = (n) => String(n).padStart(2, "0");
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    const rest = pad(whole % 60);
    return hours ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
  }

  function say(state) {
    $("now").dataset.state = state;
    $("now-state").textContent = STATE[state];
  }

  /** Show the run at this moment: what it works on, how long it takes, what it waits for. */
  function showNow(now) {
    const stages = STAGES.filter((stage) => now.jobs[stage]);
    const facts = stages.map((stage) => `${number.format(now.jobs[stage])} ${stage}`);
    facts.push(`${length(now.elapsed_s)} so far`);
    const rate = Number(now.rate_per_s.toPrecision(2));
    if (rate) facts.push(`${number.format(rate)} jobs/s`);
    if (now.eta_s !== null) facts.push(`${length(now.eta_s)} left`);
    if (now.cost) facts.push(`${now.cost.toFixed(2)} ${now.currency}`);
    if (now.is_stopping) facts.push("stopping");
    facts.push(...now.waits_for.map((reason) => `waits for ${reason}`));
    $("now-facts").textContent = facts.join(" · ");
    const files = now.files.map(fileItem);
    if (now.more_files) {
      const more = document.createElement("li");
      more.textContent = `and ${number.format(now.more_files)} more`;
      files.push(more);
    }
    $("now-files").replaceChildren(...files);
  }

  /** Return the line of a file that is worked on: its name, and what is done or the time taken. */
  function fileItem(file) {
    const item = document.createElement("li");
    const name = document.createElement("bdi");
    name.textContent = file.object;
    item.append(name);
    if (file.is_running) {
      const bar = document.createElement("progress");
      bar.max = 1;
      if (file.part !== null) bar.value = Math.min(file.part, 1);
      bar.setAttribute("aria-label", file.object);
      item.append(bar);
    }
    const isKnown = file.is_running && file.part !== null;
    const percent = Math.floor(Math.min(file.part ?? 0, 0.99) * 100);
    item.append(isKnown ? ` ${percent} %` : ` ${length(file.for_s)}`);
    return item;
  }

  async function begin() {
    await page.ready;
    const named = (name) => document.querySelector(`meta[name="${name}"]`).content;
    const after = encodeURIComponent(`${named("run")}/${named("last-row")}`);
    const source = new EventSource(`events?after=${after}`);
    const on = (name, act) => {
      source.addEventListener(name, (event) => act(JSON.parse(event.data)));
    };
    source.addEventListener("open", () => say("open"));
    source.addEventListener("error", () => say("lost"));
    on("rows", page.put);
    on("totals", (change) => {
      page.totals(change);
      if (change.title) document.title = change.title;
    });
    on("now", showNow);
    on("reload", () => {
      source.close();
      location.reload();
    });
    on("end", () => {
      source.close();
      say("over");
      $("now-facts").textContent = "";
      $("now-files").replaceChildren();
    });
  }

  begin();
})();
