import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CAUSES, runChecks } from '../../../agent/checks/checks.ts';
import { error, type Finding, pass, unknown } from '../../../agent/finding.ts';
import { hasTraces, Metrics } from '../../../agent/http/metrics.ts';
import { criStatus, fakeCri, inputsOf, sourcesOf } from '../checks/fake-node.ts';
import { finding, READY, reportOf } from '../reports.ts';
import { named } from '../text/samples.ts';

/** What the checks say of a host whose containerd has only runc, or does not answer. */
function lookAt(host: string, answers = true): Promise<readonly Finding[]> {
  const cri = fakeCri(answers ? criStatus('v2.1.5', {}) : undefined);
  const options = { now: () => 0, signal: new AbortController().signal };
  return runChecks(CAUSES, inputsOf(sourcesOf(host, { cri })), options);
}

const CONFIGURED = finding(pass(''), 'handler-configured');
const NOT_CONFIGURED = finding(error('HandlerNotConfigured', ''), 'handler-configured');
const NOT_LOADED = finding(error('HandlerNotLoaded', ''), 'handler-loaded');
const SILENT = finding(unknown('ContainerdUnreachable', ''), 'handler-loaded');
const NO_PROGRAMS = [
  finding(unknown('CheckFailed', ''), 'shim'),
  finding(unknown('CheckFailed', ''), 'runsc'),
];
const NOTHING = [NOT_CONFIGURED, NOT_LOADED, ...NO_PROGRAMS];

describe('hasTraces', () => {
  for (const host of ['eks-plain', 'gke-plain', 'bottlerocket-plain']) {
    it(`finds nothing of gVisor on ${host}`, async () => assert.equal(hasTraces(await lookAt(host)), false));

    it(`cannot tell while the containerd of ${host} does not answer`, async () =>
      assert.equal(hasTraces(await lookAt(host, false)), undefined));
  }

  it('finds runsc and the shim of a node that lost its handler', async () => {
    assert.equal(hasTraces(await lookAt('kubeadm-no-config')), true);
  });

  it('finds the handler of a node that lost its programs', async () => {
    assert.equal(hasTraces(await lookAt('debian-shim-missing')), true);
  });

  const table: readonly [string, readonly Finding[], boolean | undefined][] = [
    ['nothing', NOTHING, false],
    ['a handler that containerd does not answer for', [CONFIGURED, SILENT, ...NO_PROGRAMS], true],
    ['nothing on disk, and a containerd that does not answer', [NOT_CONFIGURED, SILENT], undefined],
    [
      'a handler where containerd does not read it',
      [finding(error('HandlerInIgnoredTable', ''), 'handler-configured'), NOT_LOADED],
      true,
    ],
    [
      'a shim that is no program',
      [NOT_CONFIGURED, NOT_LOADED, finding(error('ShimNotExecutable', ''), 'shim')],
      true,
    ],
    [
      'a shim that containerd does not find',
      [NOT_CONFIGURED, NOT_LOADED, finding(error('ShimNotFound', ''), 'shim')],
      false,
    ],
  ];
  for (const [what, findings, expected] of table)
    it(`of ${what} says ${expected}`, () => assert.equal(hasTraces(findings), expected));
});

describe('gvisor_node_expected', () => {
  const bare = reportOf({
    findings: NOTHING,
    proof: { kind: 'failed', reason: 'HandlerNotLoaded', message: '' },
  });
  const expected = async (metrics: Metrics) =>
    (await named(metrics, 'gvisor_node_expected')).map((line) => Number(line.split(' ')[1]));

  it('is 0 where nothing of gVisor is, and the Node says that it was never proven', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.count(bare);
    assert.deepEqual(await expected(metrics), [], 'the Node was not read yet');
    metrics.noteProvenOnce(false);
    assert.deepEqual(await expected(metrics), [0]);
  });

  it('is 1 where gVisor was proven once, though nothing of it is left', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.count(bare);
    metrics.noteProvenOnce(true);
    assert.deepEqual(await expected(metrics), [1]);
    metrics.noteProvenOnce(false); // somebody took the annotation away
    assert.deepEqual(await expected(metrics), [0]);
  });

  it('is 1 where something of it is, and stays while nothing can be told', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.noteProvenOnce(false);
    metrics.count(reportOf({ findings: [CONFIGURED] }));
    assert.deepEqual(await expected(metrics), [1]);
    metrics.count(reportOf({ findings: [SILENT] }));
    assert.deepEqual(await expected(metrics), [1]);
    metrics.count(bare);
    assert.deepEqual(await expected(metrics), [0]);
  });

  it('is 1 everywhere where the settings say so', async () => {
    const metrics = new Metrics('0.1.0', 0, true);
    metrics.noteProvenOnce(false);
    metrics.count({ ...bare, verdict: READY });
    assert.deepEqual(await expected(metrics), [1]);
  });
});
