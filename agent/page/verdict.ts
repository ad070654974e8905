import type { Status } from '../report.ts';
import { HEADLINES, type StatusTone, shortIds } from '../text/format.ts';
import { nextSteps, sinceOf } from '../text/next-steps.ts';
import { causeOf, type Told } from '../text/told.ts';
import { html, type Markup } from './html.ts';
import { instant, mark, reasonLink, since } from './parts.ts';

/** What a tired person needs first: ready or not, since when, why, and what to do. */
export function renderVerdict(status: Status, told: Told): Markup {
  const { verdict, node, proof } = status;
  const [tone, headline] = HEADLINES[verdict.status];
  const at = sinceOf(status);
  const why =
    verdict.reason === 'AgentStarting'
      ? 'Nothing is published before a look has settled.'
      : causeOf(verdict, proof);
  return html`<section class="verdict ${tone}" aria-labelledby="verdict">
${emblem(tone)}
<div>
<p class="node">${node}</p>
<h1 id="verdict">${headline}</h1>
${at === undefined ? undefined : html`<p class="since">Since ${since(at)}</p>`}
<p>${reasonLink(verdict.reason, 'reason')} ${shortIds(told.tell(why))}</p>
${renderSteps(status)}
</div>
</section>
${renderPending(status, told)}`;
}

function renderSteps(status: Status): Markup | undefined {
  const steps = nextSteps(status);
  if (steps.length === 0) return undefined;
  const items = steps.map(({ reason, remedy }) =>
    steps.length === 1
      ? html`<li>${remedy}</li>`
      : html`<li>${reasonLink(reason, `step-${reason}`)} ${remedy}</li>`,
  );
  return html`<div class="steps"><h2 id="steps">${status.evaluation.verdict.status === 'True' ? 'Worth doing' : 'What to do'}</h2>
<ol role="list" aria-labelledby="steps">${items}</ol></div>`;
}

/** What the last look came to, where that is not (yet) what is published. */
function renderPending({ verdict, evaluation, proof }: Status, told: Told): Markup | undefined {
  if (verdict.status === evaluation.verdict.status && verdict.reason === evaluation.verdict.reason)
    return undefined;
  const [tone, headline] = HEADLINES[evaluation.verdict.status];
  return html`<section class="pending ${tone}" aria-labelledby="pending">
<h2 id="pending">What the last look came to; not published yet</h2>
<p>${mark(tone, headline)} ${reasonLink(evaluation.verdict.reason, 'pending-reason')} ${shortIds(told.tell(causeOf(evaluation.verdict, proof)))}</p>
<p class="quiet">${instant(evaluation.at)}</p>
</section>`;
}

/** The lines of each tone's symbol, in a circle of 32 by 32. */
export const STROKES: Readonly<Record<StatusTone, string>> = {
  pass: 'M10 16.5l4.2 4.2L22.5 12',
  fail: 'M11.5 11.5l9 9m0-9l-9 9',
  unknown: 'M12.6 13a3.5 3.5 0 1 1 5.2 3c-1.2.7-1.8 1.4-1.8 2.9M16 22.6v.1',
};

/** The symbol of a tone, large. */
export function emblem(tone: StatusTone): Markup {
  return html`<svg class="emblem" viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="15"/><path d="${STROKES[tone]}"/></svg>`;
}
