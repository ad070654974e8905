import { CHECKS } from '../checks/catalogue.ts';
import type { Evidence, Finding } from '../finding.ts';
import { REASONS, type Reason } from '../reasons.ts';
import type { Report, Transition } from '../report.ts';
import { html, type Markup } from './html.ts';
import { describeFacts, HEADLINES, longTime, MARKS, seconds, shortTime, type Tone, toneOf } from './words.ts';

/** What to do about the faults besides the one that the verdict and the last look name; absent without any. */
export function renderRemedies({ verdict, look, findings }: Report): Markup | undefined {
  const faults = findings.flatMap((finding) => (finding.status === 'fail' ? [finding.reason] : []));
  const others = new Set<Reason>(faults);
  others.delete(verdict.reason);
  others.delete(look.verdict.reason);
  if (others.size === 0) return undefined;
  return html`<section aria-labelledby="besides">
<h2 id="besides">Also to do</h2>
<ul role="list" class="remedies">${[...others].map(
    (reason) => html`<li><code>${reason}</code> ${REASONS[reason].remedy}</li>`,
  )}</ul>
</section>`;
}

/** What to do about one reason; absent where there is nothing to do. */
export function renderRemedy(reason: Reason): Markup | undefined {
  if (reason === 'SandboxProven') return undefined;
  return html`<p class="remedy"><b>What to do</b> ${REASONS[reason].remedy}</p>`;
}

/** The last attempt to boot a sandbox, in figures, or in containerd's words. */
export function renderProof({ proof, provenAt, facts, handler }: Report): Markup {
  const last = provenAt === undefined ? html`never since the agent started` : instant(provenAt);
  if (proof.kind !== 'proven') {
    const tone = proof.kind === 'failed' || proof.kind === 'stuck' ? 'fail' : 'unknown';
    return html`<section aria-labelledby="proof">
<h2 id="proof">Proof</h2>
<p>${mark(tone, proof.kind)} <code>${proof.reason}</code> A sandbox of handler "${handler}" was asked for.</p>
<pre>${proof.message}</pre>
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
<p class="quiet">A sandbox of handler "${handler}" booted, was gVisor's, and went away. Last proven: ${last}</p>
</section>`;
}

/** Every check with what it saw; the evidence opens from the message. Roles keep the table one on a phone. */
export function renderChecks({ findings, proof }: Report): Markup {
  const titles = new Map(CHECKS.map(({ id, title }) => [id, title]));
  const tones = findings.map((finding) => toneOf(finding, proof.kind === 'proven'));
  const counts = (['fail', 'warning', 'unknown', 'pass'] as const)
    .map((tone) => [tones.filter((other) => other === tone).length, MARKS[tone][1]] as const)
    .filter(([count]) => count > 0)
    .map(([count, word]) => `${count} ${word}`);
  const rows = findings.map(
    (finding, index) => html`<tr role="row" class="${tones[index]}">
<td role="cell" class="status">${mark(tones[index] ?? 'unknown')}</td>
<th role="rowheader" scope="row">${titles.get(finding.check) ?? finding.check}</th>
<td role="cell" class="seen">${seen(finding)}</td>
<td role="cell" class="ms">${shortTime(finding.durationMs)}</td>
</tr>`,
  );
  return html`<section aria-labelledby="checks">
<h2 id="checks">Checks <small>${counts.join(', ')}</small></h2>
<table role="table" aria-labelledby="checks">
<thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">Status</th><th role="columnheader" scope="col">Check</th><th role="columnheader" scope="col">What was seen</th><th role="columnheader" scope="col" class="ms">Took</th></tr></thead>
<tbody role="rowgroup">${rows}</tbody>
</table>
</section>`;
}

function seen(finding: Finding): Markup {
  const reason = finding.status === 'pass' ? undefined : html` <code>${finding.reason}</code>`;
  const evidence = finding.evidence ?? [];
  if (evidence.length === 0) return html`<p>${finding.message}${reason}</p>`;
  return html`<details id="evidence-${finding.check}">
<summary id="open-${finding.check}">${finding.message}${reason}</summary>
<ul role="list" class="evidence" aria-label="Evidence">${evidence.map(place)}</ul>
</details>`;
}

function place({ file, line, value }: Evidence): Markup {
  const where = line === undefined ? file : `${file}:${line}`;
  return html`<li>${where === undefined ? undefined : html`<b>${where}</b> `}<span>${value}</span></li>`;
}

/** What is known of the node and of the agent. */
export function renderFacts({ facts, handler, version }: Report): Markup {
  const all = [...describeFacts(facts), ['Handler', handler] as const, ['Agent', version] as const];
  return html`<section aria-labelledby="node">
<h2 id="node">Node</h2>
<dl class="facts">${all.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
</section>`;
}

const SHOWN_AT_ONCE = 8;

/** Every change of the published verdict that is remembered, the newest first. */
export function renderHistory({ history }: Report): Markup {
  const entries = history.map((transition, index) => entry(transition, history[index - 1]));
  const older = entries.slice(SHOWN_AT_ONCE);
  return html`<section aria-labelledby="history">
<h2 id="history">History</h2>
${entries.length === 0 ? html`<p class="quiet">No verdict has been published yet.</p>` : html`<ol role="list" class="history">${entries.slice(0, SHOWN_AT_ONCE)}</ol>`}
${
  older.length === 0
    ? undefined
    : html`<details id="older"><summary id="open-older">${older.length} earlier</summary><ol role="list" class="history">${older}</ol></details>`
}
</section>`;
}

function entry({ status, reason, message, at }: Transition, next: Transition | undefined): Markup {
  const [tone] = HEADLINES[status];
  const word = { True: 'works', False: 'does not work', Unknown: 'cannot tell' }[status];
  const lasted = next === undefined ? 'until now' : `for ${longTime(Date.parse(next.at) - Date.parse(at))}`;
  return html`<li class="${tone}">
<p>${mark(tone, word)} <code>${reason}</code></p>
<p class="quiet">${instant(at)}, ${lasted}</p>
<p>${message}</p>
</li>`;
}

/** A symbol and a word; the symbol is not read aloud. */
function mark(tone: Tone, word: string = MARKS[tone][1]): Markup {
  return html`<span class="mark ${tone}"><span aria-hidden="true">${MARKS[tone][0]}</span> ${word}</span>`;
}

/** An instant for people, in UTC to the second, and for machines. */
export function instant(at: string): Markup {
  return html`<time datetime="${at}">${at.replace('T', ' ').replace(/(\.\d+)?Z$/, ' UTC')}</time>`;
}
