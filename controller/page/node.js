import { keepFresh } from './reload.js';

const main = document.querySelector('main');
const live = document.getElementById('live');
let shown = main.innerHTML;
let title = document.title;

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

/** Open details and the focus are kept. */
async function show(response) {
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
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

showAges();
keepFresh(location.pathname, {
  show,
  problem: 'The agent does not answer. Below is its last report.',
  ended: (failed) => {
    document.title = failed ? `! ${title}` : title;
    showAges();
  },
});
