// The player: three sounds of one job, of which one is heard.

let current = null; // {index, key, sounds, active}
const settings = { volume: 1, loop: false };

/** Show a job in the player, and play it. */
function open(n, plays) {
  const isSame = current && current.index === n && current.key === columns.key[n];
  if (!isSame) {
    leave();
    if (!shown.has(n)) {
      shown.set(n, buildRow(n));
      $("held").append(shown.get(n));
    }
    const sounds = Object.fromEntries(
      [...shown.get(n).querySelectorAll("audio")].map((audio) => [audio.dataset.stem, audio]),
    );
    current = {
      index: n,
      key: columns.key[n],
      sounds,
      active: sounds.voice ? "voice" : (Object.keys(sounds)[0] ?? ""),
    };
    for (const audio of Object.values(sounds)) follow(audio);
    if (!shown.get(n).closest("#rows")) {
      $("held").append(...Object.values(sounds));
      shown.get(n).remove();
      shown.delete(n);
    }
    cursor = n;
    showJob(n);
  }
  $("dock").hidden = false;
  document.body.classList.add("with-dock");
  fit();
  if (view.includes(n)) reveal(view.indexOf(n));
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
function fit() {
  document.body.style.setProperty("--dock", `${$("dock").offsetHeight + 16}px`);
}

function showJob(n) {
  const row = rowAt(n),
    facts = [row.state, length(row.media_duration_s), `level ${row.level}`];
  $("dock-title").firstChild.textContent = row.input.object;
  $("dock-facts").replaceChildren(
    sign(row.state),
    facts.filter((fact) => fact !== "–").join(" · "),
  );
  $("dock-message").hidden = !row.code && !row.message;
  $("dock-message").textContent = [row.code, row.message].filter(Boolean).join(": ");
  $("problem").hidden = true;
  const sounds = Object.keys(current.sounds);
  $("transport").hidden = !sounds.length;
  $("lanes").replaceChildren(
    ...SOUNDS.filter((sound) => sounds.includes(sound)).map((sound, place) => {
      const choose = make(
        "button",
        { type: "button", role: "radio", "data-sound": sound, "aria-checked": "false" },
        make("kbd", { "aria-hidden": "true" }, String(place + 1)),
        ` ${TITLES[sound]}`,
      );
      choose.addEventListener("click", () => hear(sound));
      const wave = make(
        "div",
        { class: "wave", "data-wave": sound, "aria-hidden": "true" },
        make("canvas"),
      );
      wave.addEventListener("pointerdown", (event) => {
        hear(sound);
        seekIn(wave, event);
        wave.setPointerCapture(event.pointerId);
      });
      wave.addEventListener("pointermove", (event) => {
        if (event.buttons) seekIn(wave, event);
      });
      return make("div", { class: "lane" }, choose, wave);
    }),
  );
  if (haveLinksExpired())
    complain("The links of this page have expired. Write it again with --links.");
  $("details").replaceChildren(
    ...detailsOf(row, n).map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, value)),
    ),
  );
  showPlayer();
}

function detailsOf(row, n) {
  const file = (sound) => {
    const address = addressOf(n, sound),
      name = sound === "input" ? row.input.object : columns[sound][n];
    return address
      ? make("a", { href: address, target: "_blank", rel: "noreferrer" }, make("bdi", {}, name))
      : make("bdi", {}, text(name));
  };
  const found = [
    ["Input", file("input")],
    ["Bucket", `${row.input.bucket}, ${row.input.region}`],
  ];
  for (const each of row.files) {
    const facts = [
      each.size_bytes === null ? "" : `${number.format(each.size_bytes)} bytes`,
      each.verified ? "verified" : "not verified",
    ];
    found.push([
      TITLES[each.stem] ?? each.stem,
      make("span", {}, file(each.stem), ` (${facts.filter(Boolean).join(", ")})`),
    ]);
  }
  found.push(
    ["Submitted", instant(columns.submitted_at[n])],
    ["Started", instant(columns.started_at[n])],
    ["Finished", instant(columns.finished_at[n])],
  );
  found.push(
    ["Attempts", String(row.attempts) + (row.adopted ? ", adopted" : "")],
    ["Job id", row.job_id],
    ["Request id", row.request_id],
    ["User data", row.user_data],
    ["Key", row.key],
    ["Run", row.run],
  );
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
  audio.play().catch((error) => {
    if (error.name !== "AbortError") complain(reason(audio));
  });
  // The others are loaded, too, so that switching has no gap.
  for (const each of Object.values(current.sounds)) if (each !== audio) each.preload = "auto";
}

function reason(audio) {
  if (haveLinksExpired())
    return "The links of this page have expired. Write it again with --links.";
  const where = PLACES.links
    ? "The storage did not deliver it, or the browser cannot play its format."
    : "It is no longer beside this page, or the browser cannot play its format.";
  return `${TITLES[audio.dataset.stem]} cannot be played. ${where}`;
}

function complain(message) {
  $("problem").textContent = message;
  $("problem").hidden = false;
  fit();
}

/** Hear another sound of the job at the same second. */
function hear(sound) {
  const from = playing(),
    to = current?.sounds[sound];
  if (!to || to === from) return showPlayer();
  current.active = sound;
  to.currentTime = from.currentTime;
  if (!from.paused) {
    // The old sound ends when the new one is heard, so that there is no silence between.
    const swap = () => {
      if (current?.active !== sound) {
        to.pause();
        return;
      }
      if (!from.paused) {
        if (Math.abs(to.currentTime - from.currentTime) > 0.06) to.currentTime = from.currentTime;
        from.pause();
      }
    };
    to.preload = "auto";
    to.play().then(swap, (error) => {
      from.pause();
      if (error.name !== "AbortError") complain(reason(to));
    });
  }
  showPlayer();
}

function follow(audio) {
  audio.volume = settings.volume;
  audio.loop = settings.loop;
  if (audio.dataset.followed) return;
  audio.dataset.followed = "yes";
  for (const name of ["play", "pause", "ended", "timeupdate", "durationchange", "seeked"]) {
    audio.addEventListener(name, () => {
      if (playing() === audio) showPlayer();
    });
  }
  audio.addEventListener("error", () => {
    if (playing() === audio && audio.error) complain(reason(audio));
  });
}

const lengthNow = () => {
  const audio = playing();
  return audio && Number.isFinite(audio.duration)
    ? audio.duration
    : current
      ? (columns.media_duration_s[current.index] ?? 0)
      : 0;
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
  const audio = playing(),
    total = lengthNow(),
    at = audio ? audio.currentTime : 0;
  const isPlaying = Boolean(audio && !audio.paused && !audio.ended);
  $("play")
    .querySelector("path")
    .setAttribute("d", SHAPES[isPlaying ? "pause" : "play"]);
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
  const plays = Boolean(playing() && !playing().paused),
    place = view.indexOf(current.index) + by;
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
