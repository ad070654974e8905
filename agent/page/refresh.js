// Fetches the page again every five seconds, and at once when it comes to the front, and puts the new content in place
// of the old where they differ: what was opened stays open, the focus stays where it was. When the agent does not
// answer, it says so above what the agent last said.
const main = document.querySelector('main');
const live = document.getElementById('live');
let seen = main.innerHTML;
let title = document.title;
let timer;
let asking = false;

const UNITS = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];
const words = new Intl.RelativeTimeFormat('en');

/** Says how long ago something was, in whole units, so that it seldom changes. */
function tellAges() {
  for (const element of main.querySelectorAll('.age')) {
    const seconds = (Date.now() - Date.parse(element.dataset.since)) / 1000;
    const [unit, length] = UNITS.find(([, each]) => seconds >= each) ?? [];
    const age = unit === undefined ? 'just now' : words.format(-Math.floor(seconds / length), unit);
    if (element.textContent !== `, ${age}`) element.textContent = `, ${age}`;
  }
}

function show(fresh) {
  const next = fresh.querySelector('main');
  if (next.innerHTML === seen) return;
  seen = next.innerHTML;
  for (const { id } of main.querySelectorAll('details[open]')) {
    const same = fresh.getElementById(id);
    if (same) same.open = true;
  }
  const focused = main.contains(document.activeElement) ? document.activeElement.id : '';
  main.replaceChildren(...next.childNodes);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  document.getElementById('icon').href = fresh.getElementById('icon').href;
  if (fresh.title !== title) live.textContent = main.querySelector('h1').textContent;
  title = fresh.title;
}

async function ask() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    const answer = await fetch(location.pathname, { cache: 'no-store', signal: AbortSignal.timeout(4000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
    if (live.className) live.textContent = '';
    live.className = '';
    show(fresh);
    document.title = title;
  } catch {
    live.className = 'stale';
    live.textContent = 'The agent does not answer. Below is what it last said.';
    document.title = `! ${title}`;
  }
  tellAges();
  asking = false;
  timer = setTimeout(ask, 5000);
}

tellAges();
timer = setTimeout(ask, 5000);
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void ask();
});
