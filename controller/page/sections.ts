import { formatUtc } from '../../lib/base/utc.ts';
import { CHECKS } from '../../lib/node/checks/checks.ts';
import type { Evidence, Finding } from '../../lib/node/checks/finding.ts';
import { type RestartSafety, remedyOf, type SandboxProblem } from '../../lib/node/sandboxes/problem.ts';
import {
  causeOf,
  type Dedupe,
  describeFacts,
  HEADLINES,
  longTime,
  MARKS,
  PROOF_TONES,
  type StatusTone,
  seconds,
  shortIds,
  shortTime,
  TONES,
  type Tone,
  toneOf,
} from '../../lib/report/format.ts';
import { describeInstallation } from '../../lib/report/installation.ts';
import { nextSteps, type Step, sinceOf } from '../../lib/report/next-steps.ts';
import type { HandlerReport, Status, Transition } from '../../lib/report/report.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import { html, type Markup } from './html.ts';

const TITLES = new Map(CHECKS.map(({ id, title }) => [id, title]));

/** SVG paths in a box of 32 by 32. */
export const STROKES: Readonly<Record<StatusTone, string>> = {
  pass: 'M10 16.5l4.2 4.2L22.5 12',
  fail: 'M11.5 11.5l9 9m0-9l-9 9',
  unknown: 'M12.6 13a3.5 3.5 0 1 1 5.2 3c-1.2.7-1.8 1.4-1.8 2.9M16 22.6v.1',
};

export function emblem(tone: StatusTone): Markup {
  return html`<svg class="emblem" viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="15"/><path d="${STROKES[tone]}"/></svg>`;
}

/** The symbol is hidden from screen readers. */
function mark(tone: Tone, word: string = MARKS[tone][1]): Markup {
  return html`<span class="mark ${tone}"><span aria-hidden="true">${MARKS[tone][0]}</span> ${word}</span>`;
}

function instant(at: string): Markup {
  return html`<time datetime="${at}">${formatUtc(at)}</time>`;
}

/** node.js fills in the age. */
function since(at: string): Markup {
  return html`${instant(at)}<span class="age" data-since="${at}"></span>`;
}

function code(reason: string): Markup {
  return html`<code class="reason">${reason}</code>`;
}

/** Below it the latest result, if that differs. */
export function renderVerdict(status: Status, dedupe: Dedupe): Markup {
  const { verdict, node, proof } = status;
  const [tone, headline] = HEADLINES[verdict.status];
  const at = sinceOf(status);
  const why =
    verdict.reason === 'AgentStarting'
      ? 'Nothing is published before an evaluation is confirmed.'
      : causeOf(verdict, proof);
  return html`<section class="verdict ${tone}" aria-labelledby="verdict">
${emblem(tone)}
<div>
<p class="node">${node}</p>
<h1 id="verdict">${headline}</h1>
${at === undefined ? undefined : html`<p class="since">Since ${since(at)}</p>`}
<p>${code(verdict.reason)} ${shortIds(dedupe.once(why))}</p>
${renderSteps(nextSteps(status), status)}
</div>
</section>
${renderPending(status, dedupe)}`;
}

function renderSteps(
  steps: readonly Step[],
  { evaluation }: Pick<Status, 'evaluation'>,
  id = 'steps',
): Markup | undefined {
  if (steps.length === 0) return undefined;
  const items = steps.map(({ reason, remedy }) =>
    steps.length === 1 ? html`<li>${remedy}</li>` : html`<li>${code(reason)} ${remedy}</li>`,
  );
  const title = html`${evaluation.verdict.status === 'True' ? 'Worth doing' : 'What to do'}`;
  const heading = id === 'steps' ? html`<h2 id="steps">${title}</h2>` : html`<h4 id="${id}">${title}</h4>`;
  return html`<div class="steps">${heading}
<ol role="list" aria-labelledby="${id}">${items}</ol></div>`;
}

function renderPending({ verdict, evaluation, proof }: Status, dedupe: Dedupe): Markup | undefined {
  const latest = evaluation.verdict;
  if (verdict.status === latest.status && verdict.reason === latest.reason) return undefined;
  const [tone, headline] = HEADLINES[latest.status];
  return html`<section class="pending ${tone}" aria-labelledby="pending">
<h2 id="pending">Latest result (not published yet)</h2>
<p>${mark(tone, headline)} ${code(latest.reason)} ${shortIds(dedupe.once(causeOf(latest, proof)))}</p>
<p class="quiet">${instant(evaluation.at)}</p>
</section>`;
}

/** Each verdict, with remedies and failed checks that the main handler does not show. */
export function renderHandlers(status: Status, dedupe: Dedupe): Markup | undefined {
  const { handlers = [] } = status;
  if (handlers.length === 0) return undefined;
  return html`<section class="handlers" aria-labelledby="handlers">
<h2 id="handlers">Additional handlers</h2>
${handlers.map((each) => renderHandler(each, status, dedupe))}
</section>`;
}

function renderHandler(report: HandlerReport, main: Status, dedupe: Dedupe): Markup {
  const { handler, verdict, evaluation, facts, provenAt } = report;
  const [tone] = HEADLINES[verdict.status];
  const latest = evaluation.verdict;
  const isPending = verdict.status !== latest.status || verdict.reason !== latest.reason;
  const status = { ...main, ...report, nodeWrites: undefined }; // the condition is the main handler's
  const at = sinceOf(status);
  const known = new Set(nextSteps(main).map(({ remedy }) => remedy));
  const steps = nextSteps(status).filter(({ remedy }) => !known.has(remedy));
  const others = describeFacts(facts).filter(
    ([name, value]) => !describeFacts(main.facts).some((fact) => fact[0] === name && fact[1] === value),
  );
  const textOf = ({ message }: Verdict) =>
    dedupe.has(message) ? `the same as for ${main.handler}` : shortIds(message);
  return html`<div class="handler ${tone}">
<h3 id="handler-${handler}">${mark(tone, STATUS_TEXT[verdict.status])} ${handler}</h3>
<p>${code(verdict.reason)} ${textOf(verdict)}</p>
${
  isPending
    ? html`<p>Latest result (not published yet): ${mark(HEADLINES[latest.status][0], STATUS_TEXT[latest.status])} ${code(latest.reason)} ${textOf(latest)}</p>`
    : undefined
}
<p class="quiet">${others.map(([name, value]) => `${name}: ${value}. `)}${at === undefined ? undefined : html`Since ${since(at)}. `}Last proven: ${provenAt === undefined ? 'never since the agent started' : instant(provenAt)}</p>
${renderSteps(steps, report, `steps-${handler}`)}
${renderFaults(report, main)}
</div>`;
}

/** Failed checks with another result than for the main handler. */
function renderFaults({ handler, findings, proof }: HandlerReport, main: Status): Markup | undefined {
  const textOf = ({ check, status, message }: Finding) => JSON.stringify([check, status, message]);
  const shown = new Set(main.findings.map(textOf));
  const faults = findings.filter(
    (finding) => !['pass', 'skipped'].includes(finding.status) && !shown.has(textOf(finding)),
  );
  if (faults.length === 0) return undefined;
  const { rows } = renderFindings(faults, proof, ({ message }) => message, `${handler}-`);
  return checkTable(`handler-${handler}`, rows);
}

/** Agents name pods only to requests over their own loopback. */
export function renderPodCounts({ podCounts }: Status): Markup {
  const { violating = 0, weakened = 0 } = podCounts ?? {};
  const lines = [
    violating > 0 ? `${violating} outside gVisor in a namespace that requires it` : '',
    weakened > 0 ? `${weakened} in gVisor with a weakened sandbox` : '',
  ].filter(Boolean);
  return html`<section aria-labelledby="pods">
<h2 id="pods">Pods outside gVisor</h2>
${lines.map((line) => html`<p><span class="mark fail"><span aria-hidden="true">!</span> ${line}</span></p>`)}
<p class="quiet">Agents do not name pods to the controller. Run <code>kubectl gvisor-ready pods</code>.</p>
</section>`;
}

export function renderNodeWrites({ nodeWrites, node }: Status): Markup {
  const { labels = {}, condition, tainted = false, problem } = nodeWrites ?? {};
  const rows: [kind: string, name: string, value: Markup | string][] = [];
  for (const [key, value] of Object.entries(labels)) rows.push(['Label', key, value]);
  if (condition !== undefined) {
    const { type, status, reason, lastTransitionTime: at } = condition;
    rows.push(['Condition', type, html`${status} ${reason}, <span class="quiet">since ${since(at)}</span>`]);
  }
  if (tainted) rows.push(['Taint', 'not-ready', 'NoSchedule']);
  const nothing =
    nodeWrites === undefined
      ? 'This agent writes to no Node (PUBLISH is empty).'
      : 'Nothing has been written yet.';
  return html`<section aria-labelledby="written">
<h2 id="written">In the Node <small>${node}</small></h2>
${problem === undefined ? undefined : html`<p>${mark('fail', 'not Ready')} ${problem}</p>`}
${
  rows.length === 0
    ? html`<p class="quiet">${nothing}</p>`
    : html`<dl class="facts written">${rows.map(
        ([kind, name, value]) => html`<div><dt>${kind} <code>${name}</code></dt><dd>${value}</dd></div>`,
      )}</dl>`
}
</section>`;
}

/** Nothing if the installer was never used. */
export function renderInstallation({ installation }: Status): Markup | undefined {
  if (installation === undefined) return undefined;
  const { tone, text } = describeInstallation(installation);
  const word = { unknown: 'at work', warning: 'not done', pass: 'done' }[tone];
  return html`<section aria-labelledby="installer">
<h2 id="installer">Installer</h2>
<p>${mark(tone, word)} ${text}</p>
</section>`;
}

/** Without pods; also whether containerd may restart. */
export function renderSandboxes({ sandboxes }: Status): Markup {
  if (sandboxes === undefined)
    return html`<section aria-labelledby="sandboxes">
<h2 id="sandboxes">Sandboxes</h2>
<p class="quiet">The agent has not scanned them yet.</p>
</section>`;
  const { at, stale, problems, total, restart } = sandboxes;
  const [tone, answer] = RESTART[stale ? 'unknown' : restart.state];
  const firsts = problems.filter(
    ({ reason }, at) => problems.findIndex((other) => other.reason === reason) === at,
  );
  return html`<section class="sandboxes" aria-labelledby="sandboxes">
<h2 id="sandboxes">Sandboxes <small>${total === 0 ? 'none hangs' : `${total} with a problem`}</small></h2>
<p>${mark(tone, answer)} ${shortIds(restart.because.join('; '))}</p>
${problems.length === 0 ? undefined : html`<ol role="list" class="history">${problems.map(renderProblem)}</ol>`}
${total > problems.length ? html`<p class="quiet">And ${total - problems.length} more.</p>` : undefined}
${
  problems.length === 0
    ? undefined
    : html`<div class="steps"><h3 id="sandbox-steps">On the node</h3>
<ol role="list" aria-labelledby="sandbox-steps">${firsts.map((problem) => html`<li>${code(problem.reason)} ${remedyOf(problem)}</li>`)}</ol></div>`
}
<p class="quiet">Scanned: ${instant(at)}${problems.length === 0 ? '' : '. Pods are named by kubectl gvisor-ready why NODE.'}</p>
</section>`;
}

const RESTART: Readonly<Record<RestartSafety['state'], readonly [Tone, string]>> = {
  safe: ['pass', 'containerd may restart: every pod would stay'],
  unsafe: ['warning', 'Do not restart containerd:'],
  unknown: ['unknown', 'Whether containerd may restart is unknown'],
};

const MAX_PIDS = 8;

function renderProblem({ reason, message, sandbox, pids, since: at }: SandboxProblem): Markup {
  return html`<li>
<p>${code(reason)} ${shortIds(message)}</p>
<p class="quiet">Sandbox ${shortIds(sandbox)}, PID ${pids.slice(0, MAX_PIDS).join(' ')}, since ${since(at)}</p>
</li>`;
}

/** Figures, or containerd's error in full. */
export function renderProof({ proof, provenAt, facts, handler }: Status, dedupe: Dedupe): Markup {
  const last = provenAt === undefined ? html`never since the agent started` : instant(provenAt);
  if (proof.kind !== 'proven') {
    const error = dedupe.once(proof.message);
    const isRepeated = error !== proof.message;
    return html`<section aria-labelledby="proof">
<h2 id="proof">Proof</h2>
<p>${mark(PROOF_TONES[proof.kind], proof.kind)} ${code(proof.reason)} The agent requested a sandbox of handler "${handler}"${isRepeated ? '; see the error above.' : ':'}</p>
${isRepeated ? undefined : html`<pre>${error}</pre>`}
<p class="quiet">Last proven: ${last}</p>
</section>`;
  }
  const figures: readonly (readonly [string, string | undefined])[] = [
    ['Boot', seconds(proof.bootMs)],
    ['Teardown', seconds(proof.teardownMs)],
    ['Process of the sandbox', `${proof.witness.argv[0]} (${proof.witness.pid})`],
    ['Kernel of the host', facts.kernel],
  ];
  return html`<section aria-labelledby="proof">
<h2 id="proof">Proof</h2>
<dl class="figures">${figures.map(([name, value]) =>
    value === undefined ? undefined : html`<div><dt>${name}</dt><dd>${value}</dd></div>`,
  )}</dl>
<p class="quiet">A sandbox of handler "${handler}" booted in gVisor and was removed. Last proven: ${last}</p>
</section>`;
}

/** Faults first; the message expands to the evidence. ARIA roles keep it a table on a phone. */
export function renderChecks({ findings, proof }: Status, dedupe: Dedupe): Markup {
  const { counts, rows } = renderFindings(findings, proof, ({ message }) => dedupe.once(message));
  return html`<section aria-labelledby="checks">
<h2 id="checks">Checks <small>${counts}</small></h2>
${checkTable('checks', rows)}
</section>`;
}

/** `scope` keeps ids unique in the page. */
function renderFindings(
  findings: readonly Finding[],
  proof: Status['proof'],
  messageOf: (finding: Finding) => string,
  scope = '',
): { readonly counts: string; readonly rows: readonly Markup[] } {
  const toned = findings.map((finding) => [toneOf(finding, proof.kind === 'proven'), finding] as const);
  const groups = TONES.map((tone) => toned.filter(([each]) => each === tone));
  const counts = groups.flatMap(([first, ...others]) =>
    first === undefined ? [] : [`${others.length + 1} ${MARKS[first[0]][1]}`],
  );
  const rows = groups
    .flat()
    .map(([tone, finding]) => renderCheck(tone, finding, { message: messageOf(finding), scope }));
  return { counts: counts.join(', '), rows };
}

function checkTable(labelledBy: string, rows: readonly Markup[]): Markup {
  return html`<table role="table" aria-labelledby="${labelledBy}">
<thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">Status</th><th role="columnheader" scope="col">Check</th><th role="columnheader" scope="col">Result</th><th role="columnheader" scope="col" class="ms">Took</th></tr></thead>
<tbody role="rowgroup">${rows}</tbody>
</table>`;
}

type Shown = { readonly message: string; readonly scope: string };

function renderCheck(tone: Tone, finding: Finding, shown: Shown): Markup {
  const reason =
    finding.status === 'pass' || finding.status === 'skipped' ? undefined : html` ${code(finding.reason)}`;
  return html`<tr role="row" class="${tone}">
<td role="cell" class="status">${mark(tone)}</td>
<th role="rowheader" scope="row">${TITLES.get(finding.check) ?? finding.check}${reason}</th>
<td role="cell" class="seen">${renderResult(finding, shown)}</td>
<td role="cell" class="ms">${shortTime(finding.durationMs)}</td>
</tr>`;
}

function renderResult({ check, evidence = [] }: Finding, { message, scope }: Shown): Markup {
  const text = shortIds(message);
  if (evidence.length === 0) return html`<p>${text}</p>`;
  return html`<details id="evidence-${scope}${check}">
<summary id="open-${scope}${check}">${text}</summary>
<ul role="list" class="evidence" aria-label="Evidence">${evidence.map(renderEvidence)}</ul>
</details>`;
}

function renderEvidence({ file, line, value }: Evidence): Markup {
  const where = line === undefined ? file : `${file}:${line}`;
  return html`<li>${where === undefined ? undefined : html`<b>${where}</b> `}<span>${value}</span></li>`;
}

/** Facts of the node and of the agent. */
export function renderFacts({ facts, handler, version, evaluation }: Status): Markup {
  const all = [...describeFacts(facts), ['Handler', handler] as const, ['Agent', version] as const];
  return html`<section aria-labelledby="node">
<h2 id="node">Node</h2>
<dl class="facts">${all.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
<div><dt>Last evaluation</dt><dd>${instant(evaluation.at)}, took ${shortTime(evaluation.durationMs)}, trigger: ${evaluation.trigger}</dd></div></dl>
</section>`;
}

const MAX_UNFOLDED = 8;
const STATUS_TEXT = { True: 'works', False: 'does not work', Unknown: 'unknown' } as const;

/** The transitions of the published verdict, newest first. */
export function renderHistory({ history }: Status, dedupe: Dedupe): Markup {
  const entries = history.map((transition, index) =>
    renderTransition(transition, history[index - 1], dedupe),
  );
  const older = entries.slice(MAX_UNFOLDED);
  return html`<section aria-labelledby="history">
<h2 id="history">History</h2>
${entries.length === 0 ? html`<p class="quiet">No verdict has been published yet.</p>` : html`<ol role="list" class="history">${entries.slice(0, MAX_UNFOLDED)}</ol>`}
${
  older.length === 0
    ? undefined
    : html`<details id="older"><summary id="open-older">${older.length} earlier</summary><ol role="list" class="history">${older}</ol></details>`
}
</section>`;
}

function renderTransition(
  { status, reason, message, at }: Transition,
  next: Transition | undefined,
  dedupe: Dedupe,
): Markup {
  const [tone] = HEADLINES[status];
  const lasted = next === undefined ? 'until now' : `for ${longTime(Date.parse(next.at) - Date.parse(at))}`;
  return html`<li class="${tone}">
<p>${mark(tone, STATUS_TEXT[status])} ${code(reason)}</p>
<p class="quiet">${instant(at)}, ${lasted}</p>
${dedupe.has(message) ? undefined : html`<p>${shortIds(dedupe.once(message))}</p>`}
</li>`;
}
