// Reloads the content every five seconds, and when the page becomes visible. Open details and the focus are kept. When
// the reload fails, a note above the last content says so.
const REFRESH_MS = 5_000;
const TIMEOUT_MS = 15_000;
const main = document.querySelector('main');
const live = document.getElementById('live');
let shown = main.innerHTML;
let title = document.title;
let timer;
let isLoading = false;

const UNITS = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];
const relativeTime = new Intl.RelativeTimeFormat('en');

/** Ages in whole units, so that they seldom change. */
function showAges() {
  for (const element of main.querySelectorAll('.age')) {
    const seconds = (Date.now() - Date.parse(element.dataset.since)) / 1000;
    const [unit, length] = UNITS.find(([, each]) => seconds >= each) ?? [];
    const age = unit === undefined ? 'just now' : relativeTime.format(-Math.floor(seconds / length), unit);
    if (element.textContent !== `, ${age}`) element.textContent = `, ${age}`;
  }
}

function show(fresh) {
  const next = fresh.querySelector('main');
  if (next.innerHTML === shown) return;
  shown = next.innerHTML;
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

async function refresh() {
  if (isLoading) return;
  isLoading = true;
  clearTimeout(timer);
  try {
    const response = await fetch(location.pathname, {
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
    if (live.className) live.textContent = '';
    live.className = '';
    show(fresh);
    document.title = title;
  } catch {
    live.className = 'stale';
    live.textContent = 'The agent does not answer. Below is its last report.';
    document.title = `! ${title}`;
  }
  showAges();
  isLoading = false;
  timer = setTimeout(refresh, REFRESH_MS);
}

showAges();
timer = setTimeout(refresh, REFRESH_MS);
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void refresh();
});
