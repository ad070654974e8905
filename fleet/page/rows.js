const STATES = {
  proven: ['✓', 'proven'],
  not: ['✗', 'not ready'],
  unknown: ['?', 'unknown'],
  none: ['–', 'no word'],
};

/** An element with a text and a class, where they are given. */
export function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** How long ago a time was, in its largest unit. */
export function ago(time) {
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

/** The row of a node. */
export function row(node) {
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
    node.rank === 0 ? 'labelled, and no agent is Ready' : '',
    node.nodeReady ? '' : 'Node is NotReady',
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

/** Makes the table's rows these, and touches only what differs. */
export function place(body, rows) {
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
