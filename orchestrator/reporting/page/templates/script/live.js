/* Keeps the report page up to date while a run works: the server sends events, page.js shows them. */
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const page = window.reportPage;
  const number = new Intl.NumberFormat("en");
  const STAGES = ["running", "queued", "waiting", "in doubt"];
  const STATE = { open: "Live", lost: "Connection lost; trying again", over: "The run has ended. This page is complete and stays as it is." };

  function length(seconds) {
    const whole = Math.max(Math.round(seconds), 0), pad = (n) => String(n).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
  }

  function say(state) {
    $("now").dataset.state = state;
    $("now-state").textContent = STATE[state];
  }

  /** Show the run at this moment: what it works on, how long it will take, what it waits for. */
  function showNow(now) {
    const facts = STAGES.filter((stage) => now.jobs[stage]).map((stage) => `${number.format(now.jobs[stage])} ${stage}`);
    facts.push(`${length(now.elapsed_s)} so far`);
    if (now.rate_per_s) facts.push(`${number.format(now.rate_per_s >= 1 ? Math.round(now.rate_per_s) : Number(now.rate_per_s.toFixed(2)))} jobs/s`);
    if (now.eta_s !== null) facts.push(`${length(now.eta_s)} left`);
    if (now.cost) facts.push(`${now.cost.toFixed(2)} ${now.currency}`);
    if (now.is_stopping) facts.push("stopping");
    facts.push(...now.waits_for.map((reason) => `waits for ${reason}`));
    $("now-facts").textContent = facts.join(" · ");
    const files = now.files.map((file) => {
      const item = document.createElement("li"), name = document.createElement("bdi"), bar = document.createElement("progress");
      name.textContent = file.object;
      bar.max = 1;
      if (file.part !== null) bar.value = Math.min(file.part, 1);
      bar.setAttribute("aria-label", file.object);
      if (!file.is_running) bar.hidden = true;
      item.append(name, bar, ` ${file.part === null ? length(file.for_s) : `${Math.floor(Math.min(file.part, 0.99) * 100)} %`}`);
      return item;
    });
    if (now.more_files) {
      const more = document.createElement("li");
      more.textContent = `and ${number.format(now.more_files)} more`;
      files.push(more);
    }
    $("now-files").replaceChildren(...files);
  }

  async function begin() {
    await page.ready;
    const run = document.querySelector('meta[name="run"]').content;
    const after = document.querySelector('meta[name="last-row"]').content;
    const source = new EventSource(`events?after=${encodeURIComponent(`${run}/${after}`)}`);
    const on = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data)));
    source.addEventListener("open", () => say("open"));
    source.addEventListener("error", () => say("lost"));
    on("rows", page.put);
    on("totals", page.totals);
    on("now", showNow);
    on("reload", () => { source.close(); location.reload(); });
    on("end", () => { source.close(); say("over"); $("now-files").replaceChildren(); });
  }

  begin();
})();
