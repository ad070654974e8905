import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PAGE_POLICY, renderNodePage } from '../../../controller/page/page.ts';
import { CHECKS } from '../../../lib/node/checks/checks.ts';
import { REASONS } from '../../../lib/node/reasons.ts';
import type { Status } from '../../../lib/report/report.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';
import { NO_SHIM } from '../../agent/text/sample-findings.ts';
import { BROKEN, HEALTHY, HOSTILE, UNPUBLISHED } from '../../agent/text/sample-reports.ts';
import { EXPLAINED, SAMPLES } from '../../agent/text/sample-status.ts';
import { sandboxesOf } from '../../kubectl/fleet-objects.ts';
import { HOSTILE_HANDLERS, KVM_BROKEN, KVM_PROVEN } from '../../lib/fleet/sample-handlers.ts';

/** The visible text of a page, on one line. */
function textOf(page: string): string {
  return page
    .replace(/<[^>]*>/g, ' ')
    .replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code))
    .replace(/\s+/g, ' ');
}

function shows(status: Status | undefined, ...texts: readonly string[]): void {
  const text = textOf(renderNodePage(status));
  for (const each of texts) assert.ok(text.includes(each), `the page does not show "${each}": ${text}`);
}

describe('the page of a node', () => {
  it('shows the most urgent things first', () => {
    const text = textOf(renderNodePage(EXPLAINED));
    const parts = [
      'gVisor does not work here',
      'Since 2026-11-24 17:20:03 UTC',
      'RunscNotFound "runsc" is in no directory',
      'What to do RunscNotFound Install runsc',
      'Pods outside gVisor Agents do not name pods to the controller. Run kubectl gvisor-ready pods',
      'In the Node node-1 Label gvisor.node-restriction.kubernetes.io/ready false',
      'Condition GVisorReady False RunscNotFound, since 2026-11-24 17:20:03 UTC',
      'Proof ✗ failed',
      'Checks 1 fail, 1 warning, 1 skipped, 13 pass',
      '✗ fail runsc is installed and executable RunscNotFound',
      '! warning The loaded handler is the one on disk RestartPending',
      '✓ pass The kernel and the architecture can run gVisor',
    ];
    const places = parts.map((each) => text.indexOf(each));
    assert.ok(!places.includes(-1), `${parts[places.indexOf(-1)]}: ${text}`);
    assert.deepEqual(
      places,
      places.toSorted((a, b) => a - b),
    );
  });

  it('shows how many pods run outside gVisor that must run in it, and how many are weakened', () => {
    shows(
      { ...HEALTHY, podCounts: { violating: 2, weakened: 1, open: 0 } },
      '2 outside gVisor in a namespace that requires it',
      '1 in gVisor with a weakened sandbox',
    );
    assert.doesNotMatch(textOf(renderNodePage(HEALTHY)), /that requires it/);
  });

  it('shows what the installer did, where it was used', () => {
    const used = { ...HEALTHY, installation: INSTALLATIONS.failed };
    shows(
      used,
      'Installer ! not done release-20250203.0 is installed; release-20260224.0 failed at 2026-03-01',
    );
    assert.doesNotMatch(textOf(renderNodePage(HEALTHY)), /Installer/);
  });

  it('shows an additional handler that works in a few lines', () => {
    const text = textOf(renderNodePage({ ...HEALTHY, handlers: [KVM_PROVEN] }));
    const shown =
      'Additional handlers ✓ works runsc-kvm SandboxProven a sandbox of handler "runsc-kvm" booted in gVisor in 0.61 s gVisor platform: kvm. Since 2026-11-24 09:41:08 UTC . Last proven: 2026-11-24 17:14:02 UTC ';
    assert.ok(text.includes(`${shown}Pods outside gVisor`), text);
    assert.ok(text.indexOf(shown) > text.indexOf('gVisor works here'));
  });

  it('shows why an additional handler fails, and what to do', () => {
    const status = { ...HEALTHY, handlers: [KVM_BROKEN] };
    shows(
      status,
      'gVisor works here',
      `✗ does not work runsc-kvm RunscConfigInvalid ${KVM_BROKEN.verdict.message}`,
      'Since 2026-11-24 17:14:02 UTC',
      `What to do ${REASONS.RunscConfigInvalid.remedy}`,
      '✗ fail The shim accepts its configuration file RunscConfigInvalid "/etc/containerd/runsc-kvm.toml" is not there ConfigPath /etc/containerd/runsc-kvm.toml',
    );
    assert.match(renderNodePage(status), /<title>✓ node-1: gVisor works here<\/title>/);
  });

  it('repeats no remedy, error or check of the main handler', () => {
    const { version: _, node: __, ...same } = { ...BROKEN, handler: 'runsc-kvm' };
    const text = textOf(renderNodePage({ ...BROKEN, handlers: [same] }));
    assert.ok(text.includes('✗ does not work runsc-kvm ShimNotFound the same as for runsc Since'), text);
    assert.equal(text.split(REASONS.ShimNotFound.remedy).length, 2);
    assert.equal(text.split('✗ fail containerd finds and can execute the shim').length, 2);
  });

  it('shows a result of an additional handler that is not published yet, and no proof of the main one', () => {
    const { provenAt: _, ...unproven } = KVM_PROVEN;
    const verdict = UNPUBLISHED.verdict;
    shows(
      { ...HEALTHY, handlers: [{ ...unproven, verdict, history: [] }] },
      '? unknown runsc-kvm AgentStarting',
      'Latest result (not published yet): ✓ works SandboxProven a sandbox of handler "runsc-kvm"',
      'Last proven: never since the agent started',
    );
  });

  it('is the same page without additional handlers', () => {
    assert.equal(renderNodePage({ ...HEALTHY, handlers: [] }), renderNodePage(HEALTHY));
    assert.doesNotMatch(renderNodePage(HEALTHY), /dditional/);
  });

  it('shows that the first evaluation has not ended yet', () => {
    shows(undefined, 'Unknown yet whether gVisor works here', 'its first evaluation has not ended yet');
    assert.match(renderNodePage(undefined), /<title>\? gvisor-ready: /);
  });

  it('shows a proven node with the figures of its proof and its facts', () => {
    shows(HEALTHY, 'node-1', 'gVisor works here', 'SandboxProven', HEALTHY.verdict.message);
    shows(HEALTHY, 'Boot 0.84 s', 'Teardown 0.50 s', 'Process of the sandbox runsc-sandbox (189)');
    shows(HEALTHY, 'Last proven: 2026-11-24 17:12:34 UTC', 'trigger: timer', '15 pass');
    shows(
      HEALTHY,
      'System Debian GNU/Linux 12',
      'Memory 23.5 GiB',
      'runsc release-20260223.0',
      'Agent 0.1.0',
    );
    assert.match(renderNodePage(HEALTHY), /<title>✓ node-1: gVisor works here<\/title>/);
    assert.doesNotMatch(textOf(renderNodePage(HEALTHY)), /What to do|not published yet/);
  });

  it('shows the title, message, duration and evidence of every check', () => {
    for (const finding of HEALTHY.findings) {
      const title = CHECKS.find(({ id }) => id === finding.check)?.title;
      const result = finding.status === 'pass' ? '✓ pass' : '- skipped';
      shows(HEALTHY, `${result} ${title} ${finding.message}`, `${Math.round(finding.durationMs)} ms`);
      for (const { value } of finding.evidence ?? []) shows(HEALTHY, value);
    }
    shows(HEALTHY, '/etc/containerd/config.toml:19 io.containerd.runsc.v1');
  });

  it('shows a broken node with its reason and all remedies', () => {
    shows(BROKEN, 'gVisor does not work here', `ShimNotFound ${NO_SHIM} What to do`);
    shows(BROKEN, `What to do ShimNotFound ${REASONS.ShimNotFound.remedy}`);
    shows(BROKEN, `RunscTooOld ${REASONS.RunscTooOld.remedy}`);
    shows(BROKEN, '1 fail, 1 warning, 1 unknown, 1 skipped, 12 pass', BROKEN.proof.message);
  });

  it('shows the latest result where it is not published yet', () => {
    shows(UNPUBLISHED, 'AgentStarting', 'Latest result (not published yet)', 'ContainerdUnreachable');
    shows(UNPUBLISHED, `What to do ${REASONS.ContainerdUnreachable.remedy}`, 'never since the agent started');
    shows(UNPUBLISHED, 'No verdict has been published yet');
    shows({ ...HEALTHY, evaluation: BROKEN.evaluation }, 'gVisor works here', '✗ gVisor does not work here');
  });

  it('shows sandboxes that hang with what to do about each reason once, and whether containerd may restart', () => {
    shows(HEALTHY, 'Sandboxes The agent has not scanned them yet');
    shows({ ...HEALTHY, sandboxes: sandboxesOf() }, 'Sandboxes none hangs ✓ containerd may restart');
    const sandboxes = sandboxesOf(['x', 'ShimUnresponsive'], ['y', 'ShimLingers'], ['z', 'ShimLingers']);
    const status = { ...HEALTHY, sandboxes: { ...sandboxes, total: 60 } };
    shows(
      status,
      'Sandboxes 60 with a problem ! Do not restart containerd: a shim does not answer',
      'ShimUnresponsive seen ShimUnresponsive Sandbox c0ffee000000, PID 900, since 2026-03-01 11:48:00 UTC',
      'And 57 more.',
      'On the node ShimUnresponsive Do not restart containerd',
      'kill -KILL 900: ',
    );
    assert.equal(textOf(renderNodePage(status)).split('crictl rmp -f').length, 2);
    assert.doesNotMatch(textOf(renderNodePage(status)), /eval\/|uid-|kill -KILL 902/);
    shows(
      { ...HEALTHY, sandboxes: { ...sandboxesOf(), stale: true } },
      '? Whether containerd may restart is unknown',
    );
  });

  it('shows the labels, the condition, the taint, and the problem of a write', () => {
    shows(SAMPLES.unknown, 'Label gvisor.node-restriction.kubernetes.io/ready false');
    shows(HEALTHY, 'This agent writes to no Node');
    shows({ ...HEALTHY, nodeWrites: { labels: {}, tainted: false } }, 'Nothing has been written yet');
    const problem = 'the Node could not be written for 7 min: 503 shutting down';
    const nodeWrites = { labels: {}, tainted: true, problem };
    shows({ ...HEALTHY, nodeWrites }, problem, 'Taint not-ready NoSchedule');
  });

  it('shows a long error once, by the short id of its sandbox in the verdict', () => {
    for (const status of [EXPLAINED, SAMPLES.failing])
      assert.equal(textOf(renderNodePage(status)).split('failed to create shim task').length, 2);
    assert.doesNotMatch(textOf(renderNodePage(SAMPLES.failing)), /[0-9a-f]{13}/);
    const verdict = { ...EXPLAINED.verdict, message: EXPLAINED.proof.message };
    shows(
      { ...EXPLAINED, verdict, history: [] },
      'requested a sandbox of handler "runsc"; see the error above.',
    );
  });

  it('shows transitions, newest first, with their durations, and folds old ones', () => {
    shows(HEALTHY, '✓ works SandboxProven 2026-11-24 09:41:07 UTC , until now');
    shows(HEALTHY, '✗ does not work ShimNotFound 2026-11-24 09:38:52 UTC , for 2 min 15 s');
    const [first] = HEALTHY.history;
    assert.ok(first);
    const history = Array.from({ length: 50 }, (_, index) => ({
      ...first,
      message: `transition ${index}.`,
      at: new Date(Date.parse(first.at) - index * 60_000).toISOString(),
    }));
    const page = renderNodePage({ ...HEALTHY, history });
    for (const { message } of history) assert.ok(page.includes(message), message);
    assert.ok(page.indexOf('42 earlier') > page.indexOf('transition 7.'));
    assert.ok(page.indexOf('42 earlier') < page.indexOf('transition 8.'));
  });

  it('shows reasons of a newer agent without a remedy', () => {
    const reason = 'constructor' as keyof typeof REASONS;
    const verdict = { status: 'False', reason, message: 'm' } as const;
    shows({ ...HEALTHY, verdict, evaluation: { ...HEALTHY.evaluation, verdict } }, 'constructor m');
  });

  it('never turns text of a report into markup', () => {
    const hostile = { ...HOSTILE, handlers: HOSTILE_HANDLERS };
    const twin = JSON.parse(
      JSON.stringify(hostile, (_key, value: unknown) =>
        typeof value === 'string' ? value.replace(/[<>"'&]/g, '') : value,
      ),
    );
    const markupOf = (report: Status) =>
      [...renderNodePage(report).matchAll(/<\/?[a-z0-9]+(?: [a-z-]+="|[^<>"]*")*/g)].map(([tag]) =>
        tag.replace(/"[^"]*"/g, '""'),
      );
    assert.ok(markupOf(hostile).length > 300);
    assert.deepEqual(markupOf(hostile), markupOf(twin));
  });

  it('forbids inline code and other origins', () => {
    assert.ok(PAGE_POLICY.startsWith("default-src 'none'; "));
    assert.doesNotMatch(PAGE_POLICY, /unsafe|\*|https?:/);
    assert.doesNotMatch(renderNodePage(BROKEN), / style="| on[a-z]+="|<style|<script(?! type="module" src=)/);
  });

  it('has relative links, and refreshes without JavaScript too', () => {
    const page = renderNodePage(HEALTHY);
    assert.deepEqual(
      [...page.matchAll(/(?:href|src)="(?!data:)([^"]*)"/g)].map(([, url]) => url),
      ['../../style.css', '../../node.js', '../../'],
    );
    assert.match(page, /<noscript><meta http-equiv="refresh" content="30"><\/noscript>/);
  });
});
