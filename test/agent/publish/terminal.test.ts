import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { advise, fail, pass, unknown } from '../../../agent/finding.ts';
import { renderReport, TerminalPublisher } from '../../../agent/publish/terminal.ts';
import { finding, reportOf, unproven, verdictOf } from '../reports.ts';

const READY = `
gVisor works here (node-1, handler "runsc", SandboxProven)

  ✓ The kernel and the architecture can run gVisor       Linux 6.8.0 on x64
  ! The loaded handler is the one on disk                edited since
  ✓ A sandbox boots, is gVisor's, and goes away          booted

What to do next
  RestartPending: Restart containerd in a quiet moment: what is on disk is not what runs.
`;

const BROKEN = `
gVisor does not work here (node-1, handler "runsc", ShimNotFound)

  ✓ The kernel and the architecture can run gVisor       Linux 6.8.0 on x64
  ✗ containerd finds and can execute the shim            no shim in PATH
  ? The gVisor release is new enough                     runsc is not there
  ✗ A sandbox boots, is gVisor's, and goes away          failed ShimNotFound

  ShimNotFound

What to do next
  ShimNotFound: Install containerd-shim-runsc-v1 of the same gVisor release in a directory of containerd's PATH.
`;

const UNKNOWN = `
Cannot tell whether gVisor works here (node-1, handler "runsc", ContainerdUnreachable)

  ? containerd answers and is ready                      connect ENOENT
  ? A sandbox boots, is gVisor's, and goes away          impossible ContainerdUnreachable

  ContainerdUnreachable

What to do next
  ContainerdUnreachable: Start containerd, or set CRI_SOCKET to the socket it listens on.
`;

const kernel = finding(pass('Linux 6.8.0 on x64'), 'kernel');
const ready = reportOf({
  findings: [kernel, finding(advise('RestartPending', 'edited since'), 'handler-current')],
});
const broken = reportOf({
  verdict: verdictOf('False', 'ShimNotFound'),
  findings: [
    kernel,
    finding(fail('ShimNotFound', 'no shim in PATH'), 'shim'),
    finding(unknown('NothingToJudge', 'runsc is not there'), 'runsc-release'),
  ],
  proof: unproven('failed', 'ShimNotFound'),
});
const unseen = reportOf({
  verdict: verdictOf('Unknown', 'ContainerdUnreachable'),
  findings: [finding(unknown('ContainerdUnreachable', 'connect ENOENT'), 'containerd')],
  proof: unproven('impossible', 'ContainerdUnreachable'),
});

describe('renderReport', () => {
  it('shows a node that is ready, with advice', () => assert.equal(renderReport(ready, false), READY));
  it('shows a node that is not, and what to do next', () =>
    assert.equal(renderReport(broken, false), BROKEN));
  it('shows a node that cannot be judged', () => assert.equal(renderReport(unseen, false), UNKNOWN));

  it('says the same in colour', () => {
    for (const report of [ready, broken, unseen]) {
      const colored = renderReport(report, true);
      assert.notEqual(colored, renderReport(report, false));
      // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
      assert.equal(colored.replace(/\u001b\[\d+m/g, ''), renderReport(report, false));
    }
  });

  it('shows a check that it has no title for by its id', () => {
    const report = reportOf({ findings: [finding(pass('fine'), 'of-tomorrow')] });
    assert.match(renderReport(report, false), /✓ of-tomorrow {2,}fine/);
  });
});

describe('TerminalPublisher', () => {
  it('prints only when the verdict is another', () => {
    const printed: string[] = [];
    const terminal = new TerminalPublisher((text) => printed.push(text), false);
    for (const report of [ready, ready, broken, broken, unseen, ready]) terminal.publish(report);
    assert.deepEqual(
      printed,
      [READY, BROKEN, UNKNOWN, READY].map((text) => `${text}\n`),
    );
  });
});
