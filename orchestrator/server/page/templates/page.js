// Keeps the page up to date, and lets the players of a job take turns at the same place.
'use strict';

const EVERY_MS = 2000;
const contact = document.getElementById('contact');

// A job whose row is the same keeps its element: its players go on.
function updateJobs(now, then) {
  const kept = new Map([...now.querySelectorAll('li')].map((row) => [row.id, row]));
  for (const row of then.querySelectorAll('li')) {
    const old = kept.get(row.id);
    const isPlaying = old && [...old.querySelectorAll('audio')].some((player) => !player.paused);
    if (old && (isPlaying || old.outerHTML === row.outerHTML)) row.replaceWith(old);
  }
  now.replaceWith(then);
}

function update(text) {
  const next = new DOMParser().parseFromString(text, 'text/html');
  for (const then of [...next.querySelectorAll('section')]) {
    const now = document.getElementById(then.id);
    if (now.outerHTML === then.outerHTML) continue;
    if (then.id === 'jobs') updateJobs(now, then);
    else if (!now.contains(document.activeElement)) now.replaceWith(then);
  }
}

async function refresh() {
  try {
    if (!document.hidden) {
      const answer = await fetch(`/_orchestrator/page/part${window.location.search}`);
      if (answer.status === 401) window.location.reload();
      if (answer.ok) update(await answer.text());
      contact.hidden = answer.ok;
    }
  } catch {
    contact.hidden = false;
  }
  setTimeout(refresh, EVERY_MS);
}

document.addEventListener('play', ({ target }) => {
  const job = target.closest('li');
  for (const player of document.querySelectorAll('audio')) {
    if (player === target || player.paused) continue;
    player.pause();
    if (job.contains(player)) target.currentTime = player.currentTime;
  }
}, true);

setTimeout(refresh, EVERY_MS);
document.body.dataset.ready = 'yes';
