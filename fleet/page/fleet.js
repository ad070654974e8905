import { ago, element, place, row } from './rows.js';

const EVERY_MS = 5_000;
const PATIENCE_MS = 10_000;
/** Rows that are shown at first; each press of the button doubles them. A browser takes seconds to draw thousands. */
const STEP = 200;

const find = (id) => document.getElementById(id);
const [live, shown, body, more] = ['live', 'shown', 'nodes', 'more'].map(find);
const [byName, byReason, byLabels] = ['by-name', 'by-reason', 'by-labels'].map(find);

let fleet;
let tag = '';
let most = STEP;
let timer;
let asked = 0;
/** The rows that are drawn, by node: their element and the text that they were drawn from. */
const drawn = new Map();

function matching() {
  const name = byName.value.trim().toLowerCase();
  const reason = byReason.value;
  return fleet.nodes.filter(
    (node) => (!name || node.name.includes(name)) && (!reason || (node.reason || 'none') === reason),
  );
}

/** Puts the rows in their order, and makes only those anew that have changed, so that the focus stays. */
function showRows() {
  const nodes = matching();
  const wanted = nodes.slice(0, most);
  const focused = document.activeElement;
  const kept = new Set();
  const rows = wanted.map((node) => {
    const text = JSON.stringify(node);
    kept.add(node.name);
    const old = drawn.get(node.name);
    if (old?.text === text) return old.made;
    const made = row(node);
    drawn.set(node.name, { text, made });
    return made;
  });
  for (const name of drawn.keys()) if (!kept.has(name)) drawn.delete(name);
  place(body, rows);
  if (focused !== document.activeElement) {
    const href = focused.getAttribute('href');
    if (href) body.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
  }
  for (const each of body.querySelectorAll('time')) each.textContent = ago(each.dateTime);
  const text = `${nodes.length} of ${fleet.nodes.length} nodes match, ${rows.length} are shown`;
  if (shown.textContent !== text) shown.textContent = text;
  more.hidden = rows.length === nodes.length;
}

function pairs(list, entries) {
  list.replaceChildren(
    ...entries.map(([name, value, className]) => {
      const made = element('div', undefined, className);
      made.append(element('dt', name), element('dd', value));
      return made;
    }),
  );
}

function notices() {
  const made = fleet.breaker.map(({ reason, meaning }) => {
    const held = fleet.paused.length > 0 ? ` Held: ${fleet.paused.slice(0, 20).join(', ')}.` : '';
    const item = element('li');
    item.append('No label is withdrawn now: ', element('code', reason), ` ${meaning}${held}`);
    return item;
  });
  if (!fleet.upToDate)
    made.push(element('li', 'The API server does not answer. Below is what was last known.'));
  if (fleet.withoutAgent.length > 0) {
    const names = fleet.withoutAgent.slice(0, 20).join(', ');
    made.push(element('li', `Labelled and without a Ready agent: ${names}`));
  }
  find('notices').replaceChildren(...made);
}

function releases() {
  return Object.entries(fleet.releases).map(([name, counts]) => [
    name === 'gvisor' ? 'gVisor' : name,
    Object.entries(counts)
      .sort(([, a], [, b]) => b - a)
      .map(([release, count]) => `${release} on ${count}`)
      .join(', ') || 'not known',
  ]);
}

function reasons() {
  const counts = new Map();
  for (const { reason } of fleet.nodes) counts.set(reason || 'none', (counts.get(reason || 'none') ?? 0) + 1);
  const value = byReason.value;
  if (value && !counts.has(value)) counts.set(value, 0);
  const options = [...counts].sort(([a], [b]) => a.localeCompare(b));
  const text = JSON.stringify(options);
  if (byReason.dataset.drawn === text) return;
  byReason.dataset.drawn = text;
  byReason.replaceChildren(
    new Option('all', ''),
    ...options.map(([reason, count]) => new Option(`${reason} (${count})`, reason)),
  );
  byReason.value = value;
}

function show() {
  const { counts, agents, oldestProof } = fleet;
  const all = counts.proven + counts.not + counts.unknown + counts.none;
  const headline = `${counts.proven} of ${all} nodes are proven`;
  find('headline').textContent = headline;
  document.title = `${headline} · gvisor-ready`;
  pairs(find('counts'), [
    ['proven', counts.proven, 'proven'],
    ['not ready', counts.not, 'not'],
    ['unknown', counts.unknown, 'unknown'],
    ['without a word', counts.none, 'none'],
    ['agents Ready', `${agents.ready} of ${agents.desired}`],
    ['oldest proof', oldestProof ? `${ago(oldestProof.at)} (${oldestProof.node})` : 'not known'],
  ]);
  pairs(find('releases'), releases());
  notices();
  reasons();
  showRows();
}

async function ask() {
  clearTimeout(timer);
  const question = ++asked;
  try {
    const answer = await fetch(`./fleet?labels=${encodeURIComponent(byLabels.value)}`, {
      cache: 'no-store',
      headers: tag ? { 'if-none-match': tag } : {},
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (question !== asked) return;
    if (answer.status !== 304) {
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      fleet = await answer.json();
      tag = answer.headers.get('etag') ?? '';
    }
    if (live.className) live.textContent = '';
    live.className = '';
    show();
  } catch {
    if (question !== asked) return;
    live.className = 'stale';
    live.textContent = 'The controller does not answer. Below is what it last said.';
  }
  timer = setTimeout(ask, EVERY_MS);
}

function filter() {
  most = STEP;
  if (fleet) showRows();
}

byName.addEventListener('input', filter);
byReason.addEventListener('change', filter);
byLabels.addEventListener('change', () => {
  most = STEP;
  void ask();
});
find('filters').addEventListener('submit', (event) => event.preventDefault());
more.addEventListener('click', () => {
  const before = body.children.length;
  most *= 2;
  showRows();
  body.children[before]?.querySelector('a')?.focus();
});
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void ask();
});
void ask();
