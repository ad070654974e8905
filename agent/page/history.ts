import type { Status, Transition } from '../report.ts';
import { describeFacts, HEADLINES, longTime, shortIds, shortTime } from '../text/format.ts';
import type { Told } from '../text/told.ts';
import { html, type Markup } from './html.ts';
import { instant, mark, reasonLink } from './parts.ts';

/** What is known of the node and of the agent. */
export function renderFacts({ facts, handler, version, evaluation }: Status): Markup {
  const all = [...describeFacts(facts), ['Handler', handler] as const, ['Agent', version] as const];
  return html`<section aria-labelledby="node">
<h2 id="node">Node</h2>
<dl class="facts">${all.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
<div><dt>Last look</dt><dd>${instant(evaluation.at)}, took ${shortTime(evaluation.durationMs)}, trigger: ${evaluation.trigger}</dd></div></dl>
</section>`;
}

const SHOWN_AT_ONCE = 8;
const WORDS = { True: 'works', False: 'does not work', Unknown: 'cannot tell' } as const;

/** Every change of the published verdict that is remembered, the newest first. */
export function renderHistory({ history }: Status, told: Told): Markup {
  const entries = history.map((transition, index) =>
    renderEntry(transition, { index, next: history[index - 1], told }),
  );
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

function renderEntry(
  { status, reason, message, at }: Transition,
  { index, next, told }: { index: number; next: Transition | undefined; told: Told },
): Markup {
  const [tone] = HEADLINES[status];
  const lasted = next === undefined ? 'until now' : `for ${longTime(Date.parse(next.at) - Date.parse(at))}`;
  return html`<li class="${tone}">
<p>${mark(tone, WORDS[status])} ${reasonLink(reason, `past-reason-${index}`)}</p>
<p class="quiet">${instant(at)}, ${lasted}</p>
${told.has(message) ? undefined : html`<p>${shortIds(told.tell(message))}</p>`}
</li>`;
}
