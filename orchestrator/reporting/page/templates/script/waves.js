// Waveforms, and what every drawing needs: colours of the theme, and sharp lines.

const hue = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Return the brush of a canvas that has the size of its place on this screen. */
function brush(canvas, height) {
  const scale = devicePixelRatio || 1,
    width = canvas.clientWidth;
  canvas.width = Math.max(Math.round(width * scale), 1);
  canvas.height = Math.max(Math.round(height * scale), 1);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  return [pen, width];
}

const peaks = new Map();
function peaksOf(key, sound) {
  const name = `${sound} ${key}`,
    drawn = DRAWINGS[key]?.[sound];
  if (drawn && !peaks.has(name)) peaks.set(name, new Int8Array(bytesOf(drawn).buffer));
  return peaks.get(name);
}

function drawWaves() {
  if (!current) return;
  const total = lengthNow(),
    part = total && playing() ? playing().currentTime / total : 0;
  for (const wave of $("lanes").querySelectorAll(".wave")) {
    const sound = wave.dataset.wave,
      [pen, width] = brush(wave.firstChild, wave.clientHeight);
    drawWave(
      pen,
      width,
      wave.clientHeight,
      peaksOf(current.key, sound),
      part,
      sound === current.active,
    );
  }
}

function drawWave(pen, width, height, found, part, isActive) {
  const heard = hue(isActive ? "accent" : "faint"),
    rest = hue(isActive ? "level-0" : "line"),
    middle = height / 2;
  const steps = found ? found.length / 2 : 0;
  if (!steps) {
    pen.fillStyle = rest;
    pen.fillRect(0, middle - 2, width, 4);
    pen.fillStyle = heard;
    pen.fillRect(0, middle - 2, width * part, 4);
  }
  for (let n = 0; n < steps; n += 1) {
    const low = found[2 * n] / 127,
      high = found[2 * n + 1] / 127;
    pen.fillStyle = n / steps < part ? heard : rest;
    pen.fillRect(
      (n * width) / steps,
      middle - high * middle,
      Math.max(width / steps - 0.6, 0.6),
      Math.max((high - low) * middle, 1),
    );
  }
  pen.fillStyle = hue("ink");
  if (isActive) pen.fillRect(Math.min(part * width, width - 1.5), 0, 1.5, height);
}
