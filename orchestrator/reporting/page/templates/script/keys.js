// Theme and keys.

const THEMES = ["system", "light", "dark"];
let theme = "system";

/** Choose a theme, and keep the choice for the next page. */
function setTheme(name) {
  theme = THEMES.includes(name) ? name : "system";
  showTheme(theme);
  $("theme").textContent = `Theme: ${theme}`;
  try {
    localStorage.setItem("orchestrator-theme", theme);
  } catch {
    /* the browser keeps nothing */
  }
}

function showTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}

function storedTheme() {
  try {
    return localStorage.getItem("orchestrator-theme") ?? "system";
  } catch {
    return "system";
  }
}

/** Draw everything in the colours of a theme. */
function drawIn(name) {
  showTheme(name);
  drawAll();
}

$("theme").addEventListener("click", () => {
  setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  drawIn(theme);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
$("help").addEventListener("click", () => $("keys").showModal());

const KEYS = {
  " ": () => toggle(),
  k: () => toggle(),
  l: () => setLoop(!settings.loop),
  n: () => step(1),
  p: () => step(-1),
  1: () => hear("input"),
  2: () => hear("voice"),
  3: () => hear("background"),
  ArrowLeft: () => seekTo((playing()?.currentTime ?? 0) - 5),
  ArrowRight: () => seekTo((playing()?.currentTime ?? 0) + 5),
  "-": () => setVolume(settings.volume - 0.1),
  "+": () => setVolume(settings.volume + 0.1),
  "=": () => setVolume(settings.volume + 0.1),
  Escape: close,
};

function onRow(event) {
  const place = view.indexOf(cursor ?? view[0]),
    page = Math.max(Math.floor(innerHeight / (rowHeight || 44)) - 3, 1);
  const to = {
    ArrowDown: place + 1,
    ArrowUp: place - 1,
    PageDown: place + page,
    PageUp: place - page,
    Home: 0,
    End: view.length - 1,
  }[event.key];
  if (to !== undefined) {
    moveTo(to);
    return true;
  }
  if (event.key !== "Enter") return false;
  open(view[place], true);
  return true;
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const field = event.target.closest?.("input, select, textarea, dialog, summary"),
    row = event.target.closest?.("#rows tr");
  const isButton = event.target.closest?.("button, a");
  if (field && !(event.key === "Escape" && field.type === "range")) {
    if (event.key === "Escape" && field.id === "search") field.blur();
    return;
  }
  let isDone = true;
  if (event.key === "/") {
    $("search").focus();
    $("search").select();
  } else if (event.key === "?") $("keys").showModal();
  else if (row && event.target === row && onRow(event)) {
    /* done */
  } else if (
    event.target.getAttribute?.("role") === "radio" &&
    /^Arrow(Up|Down)$/.test(event.key)
  ) {
    const sounds = Object.keys(current.sounds),
      place = sounds.indexOf(current.active) + (event.key === "ArrowDown" ? 1 : -1);
    hear(sounds[(place + sounds.length) % sounds.length]);
    $("lanes").querySelector('[aria-checked="true"]').focus();
  } else if (
    current &&
    KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key] &&
    !(isButton && event.key === " ")
  ) {
    KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]();
  } else if (row && event.target === row && event.key === " ")
    open(view[view.indexOf(cursor ?? view[0])], true);
  else isDone = false;
  if (isDone) event.preventDefault();
});
$("rows").addEventListener("focusin", (event) => {
  const row = event.target.closest("tr");
  for (const [n, each] of shown) if (each === row) cursor = n;
});
