const STATES = {
  proven: ['✓', 'proven'],
  not: ['✗', 'not ready'],
  unknown: ['?', 'unknown'],
  none: ['–', 'no verdict'],
};

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** The age of a time in its largest unit. */
function ago(time) {
  if (!time) return '';
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

function cell(label, ...parts) {
  const made = element('td');
  made.dataset.label = label;
  made.append(...parts);
  return made;
}

function time(value) {
  const made = element('time', ago(value));
  if (value) {
    made.dateTime = value;
    made.title = new Date(value).toLocaleString();
  }
  return made;
}

function row(node) {
  const made = element('tr', undefined, node.rank === 0 ? 'alarm' : node.state);
  const name = element('th');
  name.scope = 'row';
  const link = element('a', node.name);
  link.href = `./nodes/${node.name}/`;
  name.append(node.agent === 'none' ? node.name : link);
  const [symbol, word] = STATES[node.state];
  const state = cell('gVisor', element('span', node.rank === 0 ? '!' : symbol, 'symbol'), ` ${word}`);
  state.firstChild.setAttribute('aria-hidden', 'true');
  const notes = [
    node.rank === 0 ? 'labelled, but no agent is Ready' : '',
    node.nodeReady ? '' : 'Node is NotReady',
    node.problems ? `problems of sandboxes: ${node.problems}` : '',
    node.unsafe ? 'do not restart containerd' : '',
    node.installer,
  ].filter(Boolean);
  const why = cell(
    'Why',
    ...(node.reason ? [element('code', node.reason), ' '] : []),
    node.state === 'proven' ? '' : node.message,
  );
  for (const note of notes) why.append(element('strong', note));
  const agent = [node.version, node.agent === 'ready' ? '' : node.agent].filter(Boolean).join(', ');
  made.append(
    name,
    state,
    why,
    cell('Since', time(node.since)),
    cell('Last proof', time(node.provenAt)),
    cell('Agent', agent),
    cell('gVisor release', node.gvisor),
    cell('containerd', node.containerd),
  );
  return made;
}

/** Puts the rows into the table, and moves only those that are out of place. */
function placeRows(body, rows) {
  let at = body.firstElementChild;
  for (const made of rows) {
    if (made === at) at = at.nextElementSibling;
    else body.insertBefore(made, at);
  }
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
}

const REFRESH_MS = 5_000;
const TIMEOUT_MS = 10_000;
/** Rows that are shown at first; the button doubles them. A browser takes seconds to draw thousands. */
const FIRST_ROWS = 200;

const find = (id) => document.getElementById(id);
const [live, shown, body, more] = ['live', 'shown', 'nodes', 'more'].map(find);
const [byName, byReason, byLabels] = ['by-name', 'by-reason', 'by-labels'].map(find);

let fleet;
let tag = '';
let maxRows = FIRST_ROWS;
let timer;
let latest = 0;
/** Rendered rows by node, with the JSON that they were rendered from. */
const drawn = new Map();

function matching() {
  const name = byName.value.trim().toLowerCase();
  const reason = byReason.value;
  return fleet.nodes.filter(
    (node) => (!name || node.name.includes(name)) && (!reason || (node.reason || 'none') === reason),
  );
}

/** Renders only the rows that changed, so that the focus stays. */
function showRows() {
  const nodes = matching();
  const wanted = nodes.slice(0, maxRows);
  const focused = document.activeElement;
  const visible = new Set();
  const rows = wanted.map((node) => {
    const text = JSON.stringify(node);
    visible.add(node.name);
    const old = drawn.get(node.name);
    if (old?.text === text) return old.made;
    const made = row(node);
    drawn.set(node.name, { text, made });
    return made;
  });
  for (const name of drawn.keys()) if (!visible.has(name)) drawn.delete(name);
  placeRows(body, rows);
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
    const paused = fleet.paused.length > 0 ? ` Paused: ${fleet.paused.slice(0, 20).join(', ')}.` : '';
    const item = element('li');
    item.append(
      'The circuit breaker is open, so no label is withdrawn: ',
      element('code', reason),
      ` ${meaning}${paused}`,
    );
    return item;
  });
  if (!fleet.upToDate)
    made.push(element('li', 'The API server does not answer. Below is its last known state.'));
  if (fleet.withoutAgent.length > 0) {
    const names = fleet.withoutAgent.slice(0, 20).join(', ');
    made.push(element('li', `Labelled without a Ready agent: ${names}`));
  }
  if (fleet.withProblems.length > 0) {
    const names = fleet.withProblems.slice(0, 20).join(', ');
    made.push(element('li', `Sandboxes hang, or would not survive a restart: ${names}`));
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
    ['no verdict', counts.none, 'none'],
    ['agents Ready', `${agents.ready} of ${agents.desired}`],
    ['oldest proof', oldestProof ? `${ago(oldestProof.at)} (${oldestProof.node})` : 'not known'],
  ]);
  const rollout = fleet.rollout ? [['installer', fleet.rollout.text]] : [];
  pairs(find('releases'), [...releases(), ...rollout]);
  notices();
  reasons();
  showRows();
}

async function refresh() {
  clearTimeout(timer);
  const request = ++latest;
  try {
    const response = await fetch(`./fleet?labels=${encodeURIComponent(byLabels.value)}`, {
      cache: 'no-store',
      headers: tag ? { 'if-none-match': tag } : {},
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (request !== latest) return;
    if (response.status !== 304) {
      if (!response.ok) throw new Error(`status ${response.status}`);
      fleet = await response.json();
      tag = response.headers.get('etag') ?? '';
    }
    if (live.className) live.textContent = '';
    live.className = '';
    show();
  } catch {
    if (request !== latest) return;
    live.className = 'stale';
    live.textContent = 'The controller does not answer. Below is its last response.';
  }
  timer = setTimeout(refresh, REFRESH_MS);
}

function filter() {
  maxRows = FIRST_ROWS;
  if (fleet) showRows();
}

byName.addEventListener('input', filter);
byReason.addEventListener('change', filter);
byLabels.addEventListener('change', () => {
  maxRows = FIRST_ROWS;
  void refresh();
});
find('filters').addEventListener('submit', (event) => event.preventDefault());
more.addEventListener('click', () => {
  const before = body.children.length;
  maxRows *= 2;
  showRows();
  body.children[before]?.querySelector('a')?.focus();
});
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void refresh();
});
void refresh();
