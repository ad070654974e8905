/** Of a row's state. */
const WORDS = { proven: 'proven', not: 'not ready', unknown: 'unknown', none: 'no verdict' };

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** The kubeconfig's context, which kubectl gvisor-ready page adds to the address; "" without it. */
const context = new URLSearchParams(`context=${location.hash.slice(1)}`).get('context') ?? '';
document.querySelector('.brand').textContent += context && ` · ${context}`;

/** In its largest unit. */
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

/** For other groups the message of the first node is shown. */
const GROUPS = {
  LabelOutdated: 'labelled, and the agent there says that gVisor does not work',
  NodeOutdated: 'the agent there says something else of gVisor than the Node, and cannot write it',
  LabelWithoutAgent: 'labelled, but no agent is Ready',
  NodeNotReady: 'the kubelet does not report Ready',
  SandboxesHang: 'sandboxes hang, or would not survive a restart',
  InstallationFailed: 'the installer did not finish',
  HandlerNotProven: 'an additional handler was proven here, and is not now',
  NotJudged: 'no agent has judged these nodes',
  NotExpected: 'gVisor is not expected here',
  SandboxProven: 'a sandbox booted, and it was gVisor',
};
/** By the rank of a group's nodes. */
const TONES = ['alarm', 'alarm', 'not', 'unknown', 'unknown', 'unknown', 'none', 'proven', 'none'];
const SYMBOLS = { alarm: '!', not: '✗', unknown: '?', none: '–', proven: '✓' };

function symbol(text) {
  const made = element('span', text, 'symbol');
  made.setAttribute('aria-hidden', 'true');
  return made;
}

function row(node) {
  const made = element('tr', undefined, TONES[node.rank]);
  const name = element('th');
  name.scope = 'row';
  const link = element('a', node.name);
  link.href = `./nodes/${node.name}/`;
  name.append(node.agent === 'none' ? node.name : link);
  const withState = (wanted) =>
    (node.handlers ?? []).filter(({ state }) => state === wanted).map(({ handler }) => handler);
  const lost = withState('lost').map((handler) => `${handler} is not proven any more`);
  const not = node.expected === false ? [] : withState('not').map((handler) => `${handler} is not proven`);
  const notes = [
    node.nodeReady ? '' : 'Node is NotReady',
    node.cordoned ? 'cordoned' : '',
    node.violating ? `pods outside gVisor that must run in it: ${node.violating}` : '',
    node.problems ? `problems of sandboxes: ${node.problems}` : '',
    node.unsafe ? 'do not restart containerd' : '',
    node.installer,
    node.refuted ? `still labelled, but the agent says ${node.refuted}` : '',
    node.outdated ? `the agent says ${node.outdated}` : '',
    ...lost,
  ].filter(Boolean);
  const why = cell(
    'Why',
    ...(node.reason && node.reason !== node.group ? [element('code', node.reason), ' '] : []),
    [node.state === 'proven' ? '' : node.message, ...not].filter(Boolean).join('; '),
  );
  for (const note of notes) why.append(element('strong', note));
  const agent = [node.version, node.agent === 'ready' ? '' : node.agent].filter(Boolean).join(', ');
  made.append(
    name,
    cell('gVisor', symbol(SYMBOLS[node.state]), ` ${WORDS[node.state]}`),
    why,
    cell('Since', time(node.since)),
    cell('Last proof', time(node.provenAt)),
    cell('Agent', agent),
    cell('gVisor release', node.gvisor),
    cell('containerd', node.containerd),
  );
  return made;
}

/** Moves only what is out of place. */
function place(parent, children) {
  let at = parent.firstElementChild;
  for (const made of children) {
    if (made === at) at = at.nextElementSibling;
    else parent.insertBefore(made, at);
  }
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

/** Unchanged text stays, so that a selection of it does. */
function write(made, text) {
  if (made.textContent !== text) made.textContent = text;
}

/** A browser takes seconds to draw thousands; the group's button doubles them. */
const FIRST_ROWS = 200;

const find = (id) => document.getElementById(id);
const [shown, list] = ['shown', 'groups'].map(find);
const byName = find('by-name');

let fleet;
/** By group: elements, and rendered rows by node with their JSON. */
const drawn = new Map();

function matching() {
  const name = byName.value.trim().toLowerCase();
  return fleet.nodes.filter((node) => node.name.includes(name));
}

function makeGroup(name) {
  const details = find('group').content.firstElementChild.cloneNode(true);
  const [summary, table, more] = details.children;
  table.setAttribute('aria-label', name);
  const [body] = table.tBodies;
  const group = { details, summary, body, more, rows: new Map(), maxRows: FIRST_ROWS };
  more.addEventListener('click', () => {
    const before = body.children.length;
    group.maxRows *= 2;
    showGroups();
    body.children[before]?.querySelector('a')?.focus();
  });
  details.addEventListener('toggle', () => details.open && showGroups());
  return group;
}

function showSummary(group, name, nodes) {
  const [first] = nodes;
  const tone = TONES[first.rank];
  const down = nodes.filter(({ nodeReady }) => !nodeReady).length;
  const cordoned = nodes.filter((node) => node.cordoned).length;
  const count = [
    `${nodes.length} ${nodes.length === 1 ? 'node' : 'nodes'}`,
    down && name !== 'NodeNotReady' ? `${down} NotReady` : '',
    cordoned ? `${cordoned} cordoned` : '',
  ].filter(Boolean);
  const members = nodes.slice(0, 3).map((node) => node.name);
  const texts = {
    '.symbol': SYMBOLS[tone],
    code: name,
    '.count': count.join(', '),
    '.meaning': GROUPS[name] ?? first.message,
    '.members': `${members.join(', ')}${nodes.length > 3 ? ', …' : ''}`,
  };
  group.details.className = `group ${tone}`;
  for (const [part, text] of Object.entries(texts)) write(group.summary.querySelector(part), text);
}

/** Unchanged rows stay, so that the focus does. */
function showRows(group, nodes) {
  const wanted = group.details.open ? nodes.slice(0, group.maxRows) : [];
  const visible = new Set();
  const rows = wanted.map((node) => {
    const text = JSON.stringify(node);
    visible.add(node.name);
    const old = group.rows.get(node.name);
    if (old?.text === text) return old.made;
    const made = row(node);
    group.rows.set(node.name, { text, made });
    return made;
  });
  for (const name of group.rows.keys()) if (!visible.has(name)) group.rows.delete(name);
  place(group.body, rows);
  group.more.hidden = rows.length === nodes.length || !group.details.open;
}

function showGroups() {
  const nodes = matching();
  const focused = document.activeElement;
  const byGroup = Map.groupBy(nodes, (node) => node.group);
  const groups = [...byGroup].map(([name, members]) => {
    const group = drawn.get(name) ?? makeGroup(name);
    drawn.set(name, group);
    showSummary(group, name, members);
    showRows(group, members);
    return group.details;
  });
  for (const name of drawn.keys()) if (!byGroup.has(name)) drawn.delete(name);
  place(list, groups);
  if (focused !== document.activeElement) {
    const href = focused.getAttribute('href');
    if (href) list.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
  }
  for (const each of list.querySelectorAll('time')) write(each, ago(each.dateTime));
  const text = `${nodes.length} of ${fleet.nodes.length} nodes match, in ${groups.length} ${groups.length === 1 ? 'group' : 'groups'}`;
  write(shown, text);
}

const MAX_NAMES = 20;

function alarms() {
  const made = fleet.alarms.map(({ reason, severity, message, nodes }) => {
    const item = element('li', undefined, severity);
    item.append(symbol('!'), ' ', element('code', reason), ` ${message}`);
    const more = nodes.length > MAX_NAMES ? ` and ${nodes.length - MAX_NAMES} more` : '';
    const names = `${nodes.slice(0, MAX_NAMES).join(', ')}${more}`;
    if (nodes.length > 0) item.append(' ', element('span', names, 'names'));
    return item;
  });
  if (fleet.rolling) made.push(element('li', 'A rollout is replacing the agents.', 'warning'));
  find('alarms').replaceChildren(...made);
}

function show() {
  const { expected, agents, nodes, rollout, reportAgeSeconds } = fleet;
  const headline =
    expected.total === 0
      ? 'No node is known that should run gVisor'
      : `${expected.proven} of ${expected.total} nodes that should run gVisor are proven`;
  find('headline').textContent = headline;
  const low = fleet.alarms.find(({ reason }) => reason === 'NoNodeReady' || reason === 'ReadyShareLow');
  find('headline').className = low?.severity ?? '';
  document.title = `${headline} · ${context || 'gvisor-ready'}`;
  const count = (holds) => nodes.filter((node) => node.expected !== false && holds(node)).length;
  const counts = [
    ...Object.entries(WORDS).map(([state, word]) => [word, count((node) => node.state === state), state]),
    ['Node NotReady', count(({ nodeReady }) => !nodeReady)],
    ['cordoned', count(({ cordoned }) => cordoned)],
    ['agents Ready', `${agents.ready} of ${agents.desired}`],
    ['age of reports', reportAgeSeconds ? `at most ${reportAgeSeconds} s` : 'not known'],
  ].map(([name, value, className]) => {
    const made = element('div', undefined, value === 0 ? '' : className);
    made.append(element('dt', name), element('dd', value));
    return made;
  });
  find('counts').replaceChildren(...counts);
  find('rollout').textContent = rollout ? `Installer: ${rollout.text}` : '';
  alarms();
  showGroups();
}

/** A filter opens the groups that it leaves. */
function filter() {
  if (!fleet) return;
  const open = byName.value.trim() !== '';
  for (const group of drawn.values()) group.maxRows = FIRST_ROWS;
  showGroups();
  for (const { details } of drawn.values()) details.open = open;
  showGroups();
}

byName.addEventListener('input', filter);
find('filters').addEventListener('submit', (event) => event.preventDefault());

const REFRESH_MS = 5_000;
const TIMEOUT_MS = 15_000;
const live = find('live');
let timer;
let isLoading = false;

/** Also every five seconds, and when the page becomes visible. If it fails, a note above the last content says so. */
async function refresh() {
  if (isLoading) return;
  isLoading = true;
  clearTimeout(timer);
  try {
    // The browser keeps the last response, and its ETag.
    const response = await fetch('./fleet', { cache: 'no-cache', signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    if (live.className) live.textContent = '';
    live.className = '';
    fleet = await response.json();
    show();
  } catch {
    live.className = 'stale';
    live.textContent = 'The controller does not answer. Below is its last response.';
  }
  isLoading = false;
  timer = setTimeout(refresh, REFRESH_MS);
}

document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void refresh();
});
void refresh();
