import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { renderPage } from '../../../agent/page/page.ts';
import { renderReasons } from '../../../agent/page/reasons.ts';
import { READY } from '../text/sample-reports.ts';
import { EXPLAINED, SAMPLES } from '../text/sample-status.ts';
import { says, textOf } from './page-text.ts';

describe('the page, for a tired person', () => {
  it('answers what a tired person asks, in that order', () => {
    const text = textOf(renderPage(EXPLAINED));
    const words = [
      'gVisor does not work here',
      'Since 2026-11-24 17:20:03 UTC',
      'RunscNotFound "runsc" is in no folder',
      'What to do RunscNotFound Install runsc',
      'Pods outside of gVisor ✓ No pod runs outside of gVisor in a namespace that requires it',
      'In the Node node-1 Label gvisor.node-restriction.kubernetes.io/ready false',
      'Condition GVisorReady False RunscNotFound, since 2026-11-24 17:20:03 UTC',
      'Proof ✗ failed',
      'Checks 1 fail, 1 warning, 12 pass',
      '✗ fail runsc is installed and executable RunscNotFound',
      '! warning The loaded handler is the one on disk RestartPending',
      '✓ pass The kernel and the architecture can run gVisor',
    ];
    const places = words.map((each) => text.indexOf(each));
    assert.ok(!places.includes(-1), `${words[places.indexOf(-1)]}: ${text}`);
    assert.deepEqual(
      places,
      places.toSorted((a, b) => a - b),
    );
  });

  it('tells a long error once, with the whole id of its sandbox', () => {
    const text = textOf(renderPage(EXPLAINED));
    assert.equal(text.split('failed to create shim task').length, 2, text);
    assert.equal(text.match(/[0-9a-f]{64}/g)?.length, 2); // the one error names it twice
    const unexplained = { ...EXPLAINED.verdict, message: EXPLAINED.proof.message };
    const alone = renderPage({ ...EXPLAINED, verdict: unexplained, history: [] });
    assert.equal(alone.split('failed to create shim task').length, 2);
    assert.match(textOf(alone), /was asked for; the answer is above\./);
  });

  it('shows which pods are outside of gVisor, first those that must not be', () => {
    says(
      SAMPLES.outside,
      '✗ 2 pods run outside of gVisor in a namespace that requires it evaluations/plain process',
      'evaluations/grader-x7p2d process',
      'End them, and start them again with a runtimeClassName of gVisor',
      '2 of 6 pods run outside of gVisor where nothing requires it gvisor-ready/gvisor-ready-agent',
    );
    const text = textOf(renderPage(SAMPLES.unknown));
    assert.match(
      text,
      /\? The pods cannot be read now 2 of 4 pods .*; read last at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/,
    );
    says(READY, 'The pods of this node were not read yet');
  });

  it('shows what the Node says, and what keeps the agent from writing there', () => {
    says(SAMPLES.unknown, 'Label gvisor.node-restriction.kubernetes.io/ready false');
    says(READY, 'This agent writes to no Node');
    says({ ...READY, nodeWrites: { labels: {}, tainted: false } }, 'Nothing is known to stand there yet');
    const problem = 'the Node could not be written for 7 min: 503 shutting down';
    says(
      { ...READY, nodeWrites: { labels: {}, tainted: true, problem } },
      problem,
      'Taint not-ready NoSchedule',
    );
  });

  it('tells the error of a real node once, by the short id of its sandbox', () => {
    const text = textOf(renderPage(SAMPLES.failing));
    assert.equal(text.split('failed to create shim task').length, 2, text);
    assert.doesNotMatch(text, /[0-9a-f]{13}/);
  });

  it('leads from each reason to what it means', () => {
    const page = renderPage(EXPLAINED);
    const links = [...page.matchAll(/href="\.\/reasons#(\w+)"/g)].map(([, reason = '']) => reason);
    assert.ok(links.length >= 7, links.join(' '));
    const reasons = renderReasons();
    for (const reason of links) assert.ok(reasons.includes(`<div id="${reason}"><dt>`), reason);
    const bare = page.replace(/<a class="reason".*?<\/a>/gs, '').match(/<code>[A-Z]\w+<\/code>/g) ?? [];
    assert.deepEqual(bare, ['<code>GVisorReady</code>']);
  });
});
