import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { renderReport } from '../../../agent/text/terminal.ts';
import { error, pass, skip, unknown, warning } from '../../../lib/checks/finding.ts';
import type { Status } from '../../../lib/report/report.ts';
import type { SandboxesReport } from '../../../lib/sandboxes/problem.ts';
import { KVM_BROKEN, KVM_PROVEN } from '../../lib/fleet/sample-handlers.ts';
import { isRewriting } from '../../runner/rewriting.ts';
import { finding, reportOf, unproven, verdictOf } from '../reports.ts';
import { INSTALLATIONS } from '../sample-installations.ts';
import { HEALTHY, UNPUBLISHED } from './sample-reports.ts';
import { EXPLAINED, SAMPLES } from './sample-status.ts';

const SCREEN = { colored: false, width: 80 };
const WIDE = { ...SCREEN, width: 10_000 };

const kernel = finding(pass('Linux 6.8.0 on x64'), 'kernel');
const ready = reportOf({
  findings: [kernel, finding(warning('RestartPending', 'edited since'), 'handler-current')],
});
const broken = reportOf({
  verdict: verdictOf('False', 'ShimNotFound'),
  findings: [
    kernel,
    finding(error('ShimNotFound', 'no shim in PATH'), 'shim'),
    finding(skip('runsc is not there'), 'runsc-release'),
  ],
  proof: unproven('failed', 'ShimNotFound'),
  history: [{ ...verdictOf('False', 'ShimNotFound'), at: '2026-03-01T09:00:00.000Z' }],
});
const unreachable = reportOf({
  verdict: verdictOf('Unknown', 'ContainerdUnreachable'),
  findings: [finding(unknown('ContainerdUnreachable', 'connect ENOENT'), 'containerd')],
  proof: unproven('inconclusive', 'ContainerdUnreachable'),
});

describe('renderReport', () => {
  for (const [name, report] of Object.entries({ ready, broken, unknown: unreachable }))
    it(`renders the screen of a node that is ${name}, in colour as well`, () => {
      const text = renderReport(report, SCREEN);
      const path = join(import.meta.dirname, 'screens', `${name}.txt`);
      if (isRewriting('SCREENS')) writeFileSync(path, text);
      assert.equal(text, readFileSync(path, 'utf8'));
      const colored = renderReport(report, { ...SCREEN, colored: true });
      assert.notEqual(colored, text);
      assert.equal(stripVTControlCharacters(colored), text);
    });

  it('says near the top what is published if that differs, and why the agent cannot write its Node', () => {
    const unpublished = renderReport(UNPUBLISHED, WIDE);
    assert.match(
      unpublished,
      /\nWhat was seen\n {2}\? published: still ".*" \(AgentStarting\); the latest .* is not published yet: ".*" \(ContainerdUnreachable\)\n/,
    );
    const { nodeWrites } = EXPLAINED;
    const problem = 'PATCH /api/v1/nodes/node-1/status: 401 Unauthorized';
    const text = renderReport({ ...EXPLAINED, nodeWrites: nodeWrites && { ...nodeWrites, problem } }, WIDE);
    const row = `  ✗ published: the agent cannot write its Node, which says False RunscNotFound: ${problem}\n`;
    assert.ok(text.includes(`\nWhat was seen\n${row}  ✗ runsc: `), text);
    assert.match(text, /\nWhat to do\n {2}AgentCannotWrite: Repair /);
    assert.doesNotMatch(text, /not published yet/);
  });

  it('has the evidence of checks that did not pass', () => {
    const text = renderReport(EXPLAINED, WIDE);
    const shown = / {2}! handler-current: .*\n {6}\/etc\/containerd\/config\.toml:22: ConfigPath\n {2}-/;
    assert.match(text, shown);
    assert.doesNotMatch(renderReport(HEALTHY, WIDE), /\n {6}/);
  });

  it('has additional handlers, with failed checks that the main one does not have', () => {
    const { verdict } = UNPUBLISHED;
    const handlers = [{ ...KVM_PROVEN, verdict }, KVM_BROKEN];
    const text = renderReport({ ...HEALTHY, handlers }, WIDE);
    assert.match(
      text,
      /\n {2}\? handler runsc-kvm: AgentStarting.*\n {6}not published yet: "gVisor works here"/,
    );
    const failed = /\n {2}✗ handler runsc-kvm: RunscConfigInvalid, since .*\n {6}ConfigPath .*\n {2}\?/;
    assert.match(text, failed);
    assert.doesNotMatch(text, /as said above/);
    const { version: _, node: __, ...same } = EXPLAINED;
    assert.match(
      renderReport({ ...EXPLAINED, handlers: [{ ...same, handler: 'twin' }] }, WIDE),
      /\n {2}✗ handler twin: RunscNotFound, since .*: as said above\n {2}\S/,
    );
  });

  it('counts pods for those who may not see them', () => {
    const count = (podCounts: Status['podCounts']) => renderReport({ ...ready, podCounts }, WIDE);
    const none = { violating: 0, weakened: 0, open: 0 };
    assert.match(
      count(none),
      /\n {2}✓ pods: none runs outside of gVisor where namespace or class requires it\n/,
    );
    assert.match(
      count({ violating: 2, weakened: 1, open: 1, unknown: 1 }),
      /\n {2}✗ pods: 2 run outside .*\n {2}✗ pods: 1 runs in a weakened sandbox\n[\s\S]*\n {2}\? pods: 1 runs in an unknown runtime/,
    );
    assert.match(count({ ...none, weakened: 2 }), /\n {2}! pods: 2 run in a weakened sandbox\n/);
  });

  it('ends with the five newest transitions and the facts of the node', () => {
    const history = [...HEALTHY.history, ...HEALTHY.history];
    const [, end = ''] = renderReport({ ...HEALTHY, history }, WIDE).split('\n\nHistory\n');
    const lines = end.split('\n');
    assert.deepEqual(lines.slice(0, 2), [
      '  ✓ 2026-11-24 09:41:07 UTC: SandboxProven',
      '  ✗ 2026-11-24 09:38:52 UTC: ShimNotFound',
    ]);
    assert.deepEqual(lines.slice(5), [
      '',
      'Debian GNU/Linux 12 (bookworm), kernel 6.12.41, containerd v2.4.2, runsc release-20260223.0, platform systrap, agent 0.1.0',
      '',
    ]);
  });

  it('has the times of the evaluation and of the last proof', () => {
    assert.match(
      renderReport(HEALTHY, WIDE),
      /\n {2}Evaluated at 2026-11-24 17:12:34 UTC in 1\.54 s \(timer\); last proven at 2026-11-24 17:12:34 UTC\.\n/,
    );
    assert.match(renderReport(UNPUBLISHED, WIDE), /; not proven since the agent started\.\n/);
  });

  it('shows what the installer did, where it was used', () => {
    const text = renderReport({ ...ready, installation: INSTALLATIONS.interrupted }, SCREEN);
    assert.match(text, /^ {2}! installer: the installation of release-20260223\.0 was interrupted \(step$/m);
    assert.doesNotMatch(renderReport(ready, SCREEN), /installer:/);
  });

  it('shows an unknown check by its id', () => {
    const report = reportOf({ findings: [finding(pass('fine'), 'of-tomorrow')] });
    assert.match(renderReport(report, SCREEN), /✓ passed: of-tomorrow\n/);
  });

  it('wraps at the width of the screen without breaking words', () => {
    for (const report of [...Object.values(SAMPLES), EXPLAINED]) {
      for (const width of [40, 80, 120]) {
        const lines = renderReport(report, { ...SCREEN, width }).split('\n');
        const long = lines.filter((line) => line.length > width && /\S\s+\S{2}/.test(line.trim()));
        assert.deepEqual(long, []);
      }
      const words = (text: string) => text.split(/\s+/);
      const rendered = words(renderReport(report, SCREEN));
      assert.deepEqual(rendered, words(renderReport(report, { ...SCREEN, width: 100_000 })));
    }
  });

  it('shows an error once, by the short id of its sandbox', () => {
    for (const report of [SAMPLES.failing, EXPLAINED]) {
      const text = renderReport(report, WIDE);
      assert.equal(text.split('failed to create shim task').length, 2, text);
      assert.doesNotMatch(text, /[0-9a-f]{13}/);
    }
  });

  it('removes control characters', () => {
    const evil = finding(error('ShimNotFound', 'gone\u001b[2J\u009b1m'), 'shim');
    const text = renderReport(reportOf({ findings: [evil] }), SCREEN);
    assert.doesNotMatch(text.replaceAll('\n', ''), /\p{Cc}/u);
  });

  it('lists pods outside gVisor where it is required', () => {
    const text = renderReport(SAMPLES.outside, SCREEN);
    assert.match(text, /\n {2}✗ pods: 2 run outside of gVisor where namespace or class requires it\n/);
    const pods = /\n {6}evaluations\/plain: process \d+ is "\/bin\/sleep"\n {6}evaluations\/grader-x7p2d: /;
    assert.match(text, pods);
    assert.match(text, /\n {2}- pods: 2 of 6 run outside of gVisor where nothing requires it\n/);
    assert.match(renderReport(SAMPLES.proven, SCREEN), /✓ pods: none runs outside of gVisor where/);
    const { pods: seen } = SAMPLES.outside;
    const flooded = seen && { ...seen, violating: Array(50).fill(seen.violating[0]) };
    assert.match(renderReport({ ...SAMPLES.outside, pods: flooded }, SCREEN), /and 30 more\n/);
  });

  it('lists problems of sandboxes, the remedy of each reason once, and why a restart is not safe', () => {
    const lasting = { sandbox: 'ab', pids: [7], since: '', ageSeconds: 1 };
    const problem = { reason: 'ShimLingers', message: 'its shim 7 has not ended', ...lasting } as const;
    const pod = { namespace: 'eval', name: 'train', uid: 'u' };
    const sandboxes: SandboxesReport = {
      ...{ at: '', stale: false, total: 32, restart: { state: 'unsafe', because: ['a', 'b'] } },
      problems: [{ ...problem, ...pod }, ...Array(31).fill(problem)],
    };
    const render = (seen: SandboxesReport) =>
      renderReport({ ...ready, sandboxes: seen }, { ...SCREEN, width: 200 });
    const text = render(sandboxes);
    assert.match(text, /\n {2}! ShimLingers: eval\/train: its shim 7 .*\n {2}! ShimLingers: sandbox ab: /);
    assert.equal(text.match(/kill -KILL 7/g)?.length, 1);
    assert.match(text, /\n {2}! sandboxes: and 12 more\n {2}! restart of containerd: unsafe: a; b\n/);
    const none = { ...sandboxes, problems: [], total: 0 };
    const safe = { ...none, restart: { state: 'safe', because: [] } } as const;
    assert.match(render(safe), /\n {2}✓ restart of containerd: safe: every pod would stay\n\n/);
    const stale = render({ ...safe, stale: true, at: '2026-03-01T10:00:00Z' });
    assert.match(
      stale,
      /\? restart of containerd: not known to be safe: last scan at 2026-03-01 10:00:00 UTC\n/,
    );
    const blind = render({ ...none, restart: { state: 'unknown', because: ['c'] } });
    assert.match(blind, /\? restart of containerd: not known to be safe: c\n/);
  });

  it('lists weakened pods, as a fault only with a way out to the host', () => {
    const weakened = (severity: 'blocker' | 'warning') => {
      const weak = [{ flag: 'host-uds', value: 'all', severity, why: 'way out' }];
      const evidence = 'process 8 is "runsc-sandbox" with host-uds=all: way out';
      return { namespace: 'eval', name: 'a', uid: 'u', handler: 'runsc', sandboxed: true, weak, evidence };
    };
    const withPods = (status: Status, severity: 'blocker' | 'warning') => {
      const pods = status.pods && { ...status.pods, weakened: [weakened(severity)] };
      return renderReport({ ...status, pods }, SCREEN);
    };
    const fault = /\n {2}✗ pods: 1 runs in a weakened sandbox\n {6}eval\/a: .* with host-uds=all: way out\n/;
    assert.match(withPods(SAMPLES.proven, 'blocker'), fault);
    assert.match(withPods(SAMPLES.proven, 'warning'), /\n {2}! pods: 1 runs in a weakened sandbox\n/);
    assert.match(withPods(SAMPLES.outside, 'blocker'), /\n {2}✗ pods: 1 runs in a weakened sandbox\n/);
  });
});
