import { CHECKS } from '../checks/checks.ts';
import type { Evidence, Finding } from '../finding.ts';
import type { Status } from '../report.ts';
import { MARKS, shortIds, shortTime, TONES, type Tone, toneOf } from '../text/format.ts';
import type { Told } from '../text/told.ts';
import { html, type Markup } from './html.ts';
import { mark, reasonLink } from './parts.ts';

const TITLES = new Map(CHECKS.map(({ id, title }) => [id, title]));

/** Every check with what it saw, faults first; the evidence opens from the message. Roles keep the table one on a phone. */
export function renderChecks({ findings, proof }: Status, told: Told): Markup {
  const toned = findings.map((finding) => [toneOf(finding, proof.kind === 'proven'), finding] as const);
  const groups = TONES.map((tone) => toned.filter(([each]) => each === tone));
  const counts = groups.flatMap(([first, ...others]) =>
    first === undefined ? [] : [`${others.length + 1} ${MARKS[first[0]][1]}`],
  );
  const rows = groups.flat().map(([tone, finding]) => renderRow(tone, finding, told));
  return html`<section aria-labelledby="checks">
<h2 id="checks">Checks <small>${counts.join(', ')}</small></h2>
<table role="table" aria-labelledby="checks">
<thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">Status</th><th role="columnheader" scope="col">Check</th><th role="columnheader" scope="col">What was seen</th><th role="columnheader" scope="col" class="ms">Took</th></tr></thead>
<tbody role="rowgroup">${rows}</tbody>
</table>
</section>`;
}

function renderRow(tone: Tone, finding: Finding, told: Told): Markup {
  const reason =
    finding.status === 'pass' || finding.status === 'skipped'
      ? undefined
      : html` ${reasonLink(finding.reason, `reason-${finding.check}`)}`;
  return html`<tr role="row" class="${tone}">
<td role="cell" class="status">${mark(tone)}</td>
<th role="rowheader" scope="row">${TITLES.get(finding.check) ?? finding.check}${reason}</th>
<td role="cell" class="seen">${renderSeen(finding, shortIds(told.tell(finding.message)))}</td>
<td role="cell" class="ms">${shortTime(finding.durationMs)}</td>
</tr>`;
}

function renderSeen({ check, evidence = [] }: Finding, message: string): Markup {
  if (evidence.length === 0) return html`<p>${message}</p>`;
  return html`<details id="evidence-${check}">
<summary id="open-${check}">${message}</summary>
<ul role="list" class="evidence" aria-label="Evidence">${evidence.map(renderPlace)}</ul>
</details>`;
}

function renderPlace({ file, line, value }: Evidence): Markup {
  const where = line === undefined ? file : `${file}:${line}`;
  return html`<li>${where === undefined ? undefined : html`<b>${where}</b> `}<span>${value}</span></li>`;
}
