import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { error, pass, skip, unknown, warning } from '../../../lib/checks/finding.ts';
import { nextSteps, sinceOf } from '../../../lib/report/next-steps.ts';
import { finding, reportOf, unproven, verdictOf } from '../../agent/reports.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';

const reasons = (...args: Parameters<typeof nextSteps>) => nextSteps(...args).map(({ reason }) => reason);

describe('nextSteps', () => {
  it('names an absent containerd before its consequences', () => {
    const unseen = reportOf({
      verdict: verdictOf('False', 'HandlerNotConfigured'),
      evaluation: { ...reportOf().evaluation, verdict: verdictOf('Unknown', 'ContainerdUnreachable') },
      findings: [
        finding(pass('Linux'), 'kernel'),
        finding(unknown('ContainerdUnreachable', 'connect ENOENT'), 'containerd'),
        finding(error('HandlerNotConfigured', 'no file'), 'handler-configured'),
        finding(skip('no handler'), 'handler-runtime'),
      ],
      proof: unproven('inconclusive', 'ContainerdUnreachable'),
    });
    assert.deepEqual(reasons(unseen), ['ContainerdUnreachable', 'HandlerNotConfigured']);
  });

  it('begins with the reason of the verdict, and has each reason once', () => {
    const broken = reportOf({
      verdict: verdictOf('False', 'ShimNotFound'),
      findings: [
        finding(warning('RestartPending', 'edited'), 'handler-current'),
        finding(error('ShimNotFound', 'no shim'), 'shim'),
        finding(unknown('CheckFailed', 'unreadable'), 'runsc'),
      ],
      proof: unproven('failed', 'ShimNotFound'),
    });
    assert.deepEqual(reasons(broken), ['ShimNotFound', 'RestartPending']);
  });

  it('is to wait, and nothing else, while the installer is at work', () => {
    const findings = [finding(warning('RestartPending', 'edited'), 'handler-current')];
    for (const [verdict, expected] of [
      [verdictOf('False', 'InstallationUnderWay'), ['InstallationUnderWay']],
      [verdictOf('True', 'SandboxProven'), ['InstallationUnderWay']],
      [verdictOf('False', 'GuestIsHostKernel'), ['GuestIsHostKernel', 'RestartPending']],
    ] as const) {
      const evaluation = { ...reportOf().evaluation, verdict };
      const report = reportOf({ verdict, evaluation, findings, installation: INSTALLATIONS.atWork });
      assert.deepEqual(reasons(report), expected);
    }
  });

  it('names the place of a handler on this node', () => {
    const absent = { ...error('HandlerNotConfigured', 'no file'), where: 'GKE Sandbox' };
    const findings = [finding(absent, 'handler-configured')];
    const [step] = nextSteps(reportOf({ verdict: verdictOf('False', 'HandlerNotConfigured'), findings }));
    assert.match(step?.remedy ?? '', /restart containerd\. On this node: GKE Sandbox\.$/);
  });

  it('is empty for a proven node without warnings', () => assert.deepEqual(nextSteps(reportOf()), []));
});

describe('sinceOf', () => {
  const at = (status: 'True' | 'False', minute: number) => ({
    ...verdictOf(status, status === 'True' ? 'SandboxProven' : 'ShimNotFound'),
    at: `2026-03-01T10:0${minute}:00.000Z`,
  });

  it('is the start of the current status in the history', () => {
    const history = [at('False', 3), at('False', 2), at('True', 1)];
    const broken = reportOf({ verdict: verdictOf('False', 'ShimNotFound'), history });
    assert.equal(sinceOf(broken), '2026-03-01T10:02:00.000Z');
    assert.equal(sinceOf({ ...broken, history: history.slice(0, 2) }), '2026-03-01T10:02:00.000Z');
    for (const none of [[], [at('True', 3)]]) assert.equal(sinceOf({ ...broken, history: none }), undefined);
  });

  it('is the lastTransitionTime in the Node where the status is the same', () => {
    const lastTransitionTime = '2026-02-01T00:00:00Z';
    const of = (status: string) => ({
      condition: { type: '', status, reason: '', message: '', lastHeartbeatTime: '', lastTransitionTime },
    });
    const ready = reportOf({ history: [at('True', 1)] });
    assert.equal(sinceOf({ ...ready, nodeWrites: of('True') }), lastTransitionTime);
    assert.equal(sinceOf({ ...ready, nodeWrites: of('False') }), '2026-03-01T10:01:00.000Z');
  });
});
