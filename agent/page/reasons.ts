import { REASONS } from '../reasons.ts';
import { HEADLINES } from '../text/format.ts';
import { html } from './html.ts';
import { renderDocument } from './page.ts';
import { mark } from './parts.ts';

/** Every reason code with what it means and what to do, for the links of the page: it works where no other site is reached. */
export function renderReasons(): string {
  const parts = (['False', 'Unknown', 'True'] as const).map((status) => {
    const [tone, headline] = HEADLINES[status];
    const reasons = Object.entries(REASONS).filter(([, each]) => each.status === status);
    return html`<section aria-labelledby="status-${status}">
<h2 id="status-${status}">${mark(tone, headline)}</h2>
<dl class="reasons">${reasons.map(
      ([reason, { remedy }]) =>
        html`<div id="${reason}"><dt><code>${reason}</code></dt><dd>${remedy}</dd></div>`,
    )}</dl>
</section>`;
  });
  const body = html`<h1 class="plain">What each reason means, and what to do</h1>
<p class="quiet">The condition, the events, the metrics, the log and the report use the same word. <a href="./">Back to this node</a></p>
${parts}`;
  const foot = html`<footer><p>These are all reasons that this version of the agent knows.</p></footer>`;
  return renderDocument({ tone: 'unknown', title: 'gvisor-ready: reasons', body, foot });
}
