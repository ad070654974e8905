import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { CHECKS } from '../../../agent/checks/checks.ts';
import { renderPage } from '../../../agent/page/page.ts';
import { PAGE_POLICY } from '../../../agent/page/policy.ts';
import { REASONS } from '../../../agent/reasons.ts';
import type { Report } from '../../../agent/report.ts';
import { NO_SHIM } from '../text/sample-findings.ts';
import { BROKEN, HOSTILE, READY, UNSEEN } from '../text/sample-reports.ts';
import { says, textOf } from './page-text.ts';

describe('renderPage', () => {
  it('says so before the first look has ended', () => {
    says(undefined, 'Cannot tell yet whether gVisor works here', 'the first look has not ended yet');
    assert.match(renderPage(undefined), /<title>\? gvisor-ready: /);
  });

  it('shows a proven node with its proof', () => {
    says(READY, 'node-1', 'gVisor works here', 'SandboxProven', READY.verdict.message);
    says(
      READY,
      'Boot 0.84 s',
      'Teardown 0.50 s',
      'Process of the sandbox runsc-sandbox (189)',
      'Kernel of the host 6.12.41',
    );
    says(READY, 'Last proven: 2026-11-24 17:12:34 UTC', 'trigger: timer', '14 pass');
    assert.match(renderPage(READY), /<title>✓ node-1: gVisor works here<\/title>/);
    assert.doesNotMatch(textOf(renderPage(READY)), /What to do|Also to do/);
  });

  it('shows the title, the message, the time and the evidence of every check', () => {
    for (const { id, title } of CHECKS) {
      const finding = READY.findings.find(({ check }) => check === id);
      assert.ok(finding, `the sample lacks the check ${id}`);
      says(READY, `✓ pass ${title} ${finding.message}`, `${Math.round(finding.durationMs)} ms`);
      for (const { value } of finding.evidence ?? []) says(READY, value);
    }
    says(READY, '/etc/containerd/config.toml:19 io.containerd.runsc.v1');
  });

  it('shows the facts of the node in the units of people', () =>
    says(READY, 'System Debian GNU/Linux 12', 'Memory 23.5 GiB', 'runsc release-20260223.0', 'Agent 0.1.0'));

  it('shows a broken node with the reason, the remedy and what else is to be done', () => {
    says(BROKEN, 'gVisor does not work here', `ShimNotFound ${NO_SHIM} What to do`);
    says(BROKEN, `What to do ShimNotFound ${REASONS.ShimNotFound.remedy}`);
    says(BROKEN, `RunscTooOld ${REASONS.RunscTooOld.remedy} Pods outside of gVisor`);
    says(BROKEN, '1 fail, 1 warning, 1 unknown, 11 pass', '✗ fail', '! warning', '? unknown', '✗ failed');
    says(BROKEN, BROKEN.proof.message, 'Last proven: 2026-11-24 17:12:34 UTC');
    assert.match(renderPage(BROKEN), /<title>✗ node-1: /);
  });

  it('says what the last look came to where that is not published', () => {
    says(UNSEEN, 'Cannot tell whether gVisor works here', 'AgentStarting');
    says(UNSEEN, 'What the last look came to; not published yet', 'ContainerdUnreachable');
    says(UNSEEN, `What to do ${REASONS.ContainerdUnreachable.remedy}`, 'never since the agent started');
    says(UNSEEN, 'No verdict has been published yet');
    const held = { ...READY, look: BROKEN.evaluation };
    says(held, 'gVisor works here', 'not published yet', '✗ gVisor does not work here ShimNotFound');
    assert.doesNotMatch(textOf(renderPage(READY)), /not published yet/);
  });

  it('says for each reason what to do', () => {
    for (const [reason, { status, remedy }] of Object.entries(REASONS)) {
      if (status === 'True' || reason === 'AgentStarting') continue;
      const verdict = { status, reason: reason as keyof typeof REASONS, message: 'm' };
      says({ ...READY, verdict, evaluation: { ...READY.evaluation, verdict } }, `What to do ${remedy}`);
    }
  });

  it('shows the history, the newest first, with how long each verdict lasted', () => {
    says(READY, '✓ works SandboxProven 2026-11-24 09:41:07 UTC , until now');
    says(READY, '✗ does not work ShimNotFound 2026-11-24 09:38:52 UTC , for 2 min 15 s');
    assert.match(
      renderPage(READY),
      /<time datetime="2026-11-24T09:38:52\.047Z">2026-11-24 09:38:52 UTC<\/time>/,
    );
  });

  it('folds a long history, and loses none of it', () => {
    const [first] = READY.history;
    assert.ok(first);
    const history = Array.from({ length: 50 }, (_, index) => ({
      ...first,
      message: `transition ${index}.`,
      at: new Date(Date.parse(first.at) - index * 60_000).toISOString(),
    }));
    const page = renderPage({ ...READY, history });
    for (const { message } of history) assert.ok(page.includes(message), message);
    assert.ok(page.indexOf('42 earlier') > page.indexOf('transition 7.'));
    assert.ok(page.indexOf('42 earlier') < page.indexOf('transition 8.'));
  });

  it('lets nothing that was read become markup', () => {
    const twin = JSON.parse(
      JSON.stringify(HOSTILE, (_key, value: unknown) =>
        typeof value === 'string' ? value.replace(/[<>"'&]/g, '') : value,
      ),
    );
    const markupOf = (report: Report) =>
      [...renderPage(report).matchAll(/<\/?[a-z0-9]+(?: [a-z-]+="|[^<>"]*")*/g)].map(([tag]) =>
        tag.replace(/"[^"]*"/g, '""'),
      );
    assert.ok(markupOf(HOSTILE).length > 300);
    assert.deepEqual(markupOf(HOSTILE), markupOf(twin));
  });

  it('is the same for the same report', () => assert.equal(renderPage(BROKEN), renderPage(BROKEN)));

  it('has links to what machines read, also behind a proxy with a prefix', () => {
    for (const path of ['reasons', 'report', 'metrics', 'livez', 'readyz'])
      assert.ok(renderPage(undefined).includes(`<a href="./${path}">/${path}</a>`), path);
  });

  it('refreshes itself without a script too', () =>
    assert.match(renderPage(READY), /<noscript><meta http-equiv="refresh" content="30"><\/noscript>/));

  it('allows its own script and style by their hash, and nothing else', () => {
    const page = renderPage(READY);
    for (const tag of ['script', 'style']) {
      const bodies = [...page.matchAll(new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`, 'g'))];
      assert.equal(bodies.length, 1);
      const hash = createHash('sha256')
        .update(bodies[0]?.[1] ?? '')
        .digest('base64');
      assert.ok(PAGE_POLICY.split('; ').includes(`${tag}-src 'sha256-${hash}'`), `${tag} of another hash`);
    }
    assert.ok(PAGE_POLICY.startsWith("default-src 'none'; "));
    assert.doesNotMatch(PAGE_POLICY, /unsafe|\*|https?:/);
    assert.doesNotMatch(page, / style="| on[a-z]+="/);
  });
});
