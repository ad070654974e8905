import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Report } from '../../../agent/agent.ts';
import { CAUSE_CHECKS, runChecks } from '../../../agent/checks/checks.ts';
import { error, type Finding, pass, unknown } from '../../../agent/checks/finding.ts';
import { hasTraces, Metrics } from '../../../agent/http/metrics.ts';
import { REASONS } from '../../../agent/reasons.ts';
import { criStatus, fakeCri, inputsOf, sourcesOf } from '../checks/fake-node.ts';
import {
  blockerFinding,
  finding,
  PASSED,
  PROVEN,
  PROVEN_VERDICT,
  reportOf,
  unproven,
  verdictOf,
} from '../reports.ts';

/** The samples of a metric as "name{labels} value". */
async function samplesOf(metrics: Metrics, name: string): Promise<readonly string[]> {
  const { body } = await metrics.text();
  return body.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
}

/** Series that are not 0. */
const counted = (lines: readonly string[]) => lines.filter((line) => !line.endsWith(' 0'));

const BROKEN = reportOf({
  verdict: verdictOf('False', 'ShimNotFound'),
  proof: unproven('failed', 'ShimNotFound'),
  findings: [finding(blockerFinding('IsolationWeakened'), 'isolation')],
});

describe('Metrics', () => {
  it('exports nothing about the node before the first verdict is published', async () => {
    const metrics = new Metrics('0.1.0');
    const silent = [
      'gvisor_node_status',
      'gvisor_node_reason',
      'gvisor_node_expected',
      'gvisor_last_boot_seconds',
    ];
    for (const name of silent) assert.deepEqual(await samplesOf(metrics, name), [], name);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_build_info'), ['gvisor_build_info{version="0.1.0"} 1']);
  });

  it('exports problems of sandboxes while they last, and restart safety unless it is unknown', async () => {
    const metrics = new Metrics('0.1.0');
    const names = ['sandbox_problems', 'containerd_restart_safe', 'sandboxes_last_scan_timestamp_seconds'];
    const samples = async () =>
      (await Promise.all(names.map((name) => samplesOf(metrics, `gvisor_${name}`)))).flat();
    assert.deepEqual(await samples(), []);
    const problem = { message: '', sandbox: 'a', pids: [], since: '', ageSeconds: 0 };
    const problems = (['ShimLingers', 'ShimLingers', 'SandboxOutdated'] as const).map((reason) => ({
      ...problem,
      reason,
    }));
    metrics.publishSandboxes({ problems, restart: { state: 'unsafe', because: [] }, atMs: 7_000 });
    assert.deepEqual(await samples(), [
      'gvisor_sandbox_problems{reason="ShimLingers"} 2',
      'gvisor_sandbox_problems{reason="SandboxOutdated"} 1',
      'gvisor_containerd_restart_safe 0',
      'gvisor_sandboxes_last_scan_timestamp_seconds 7',
    ]);
    metrics.publishSandboxes({ problems: [], restart: { state: 'safe', because: [] }, atMs: 8_000 });
    assert.deepEqual(await samples(), [
      'gvisor_containerd_restart_safe 1',
      'gvisor_sandboxes_last_scan_timestamp_seconds 8',
    ]);
    metrics.publishSandboxes({ problems: [], restart: { state: 'unknown', because: ['x'] }, atMs: 9_000 });
    assert.deepEqual(await samples(), ['gvisor_sandboxes_last_scan_timestamp_seconds 9']);
  });

  it('exports one status and one reason', async () => {
    const metrics = new Metrics('0.1.0');
    for (const report of [reportOf(), BROKEN]) metrics.publish(report);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_node_status'), [
      'gvisor_node_status{status="True"} 0',
      'gvisor_node_status{status="False"} 1',
      'gvisor_node_status{status="Unknown"} 0',
    ]);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_node_reason'), [
      'gvisor_node_reason{reason="ShimNotFound"} 1',
    ]);
  });

  it('exports the status and the duration of each check', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.publish(reportOf({ findings: [finding(PASSED, 'isolation')] }));
    metrics.publish(BROKEN);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_check_status'), [
      'gvisor_check_status{check="isolation",status="fail"} 1',
    ]);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_check_duration_seconds'), [
      'gvisor_check_duration_seconds{check="isolation"} 0.005',
    ]);
  });

  it('counts probes by outcome and transitions by reason', async () => {
    const metrics = new Metrics('0.1.0');
    for (const report of [reportOf(), reportOf(), BROKEN, BROKEN, reportOf()]) {
      metrics.count({ ...report, proof: { ...report.proof } });
      metrics.publish(report);
    }
    assert.deepEqual(counted(await samplesOf(metrics, 'gvisor_probes_total')), [
      'gvisor_probes_total{outcome="proven"} 3',
      'gvisor_probes_total{outcome="failed"} 2',
    ]);
    // The first verdict is not a transition.
    assert.deepEqual(counted(await samplesOf(metrics, 'gvisor_transitions_total')), [
      'gvisor_transitions_total{reason="SandboxProven"} 1',
      'gvisor_transitions_total{reason="ShimNotFound"} 1',
    ]);
  });

  it('starts every counter at 0, so that the first increase is visible', async () => {
    const metrics = new Metrics('0.1.0');
    assert.equal((await samplesOf(metrics, 'gvisor_probes_total')).length, 6);
    const reasons = Object.keys(REASONS).map((reason) => `gvisor_transitions_total{reason="${reason}"} 0`);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_transitions_total'), reasons);
  });

  it('counts a cached proof once', async () => {
    const metrics = new Metrics('0.1.0');
    for (let evaluation = 0; evaluation < 3; evaluation++) metrics.count(reportOf());
    assert.deepEqual(counted(await samplesOf(metrics, 'gvisor_probes_total')), [
      'gvisor_probes_total{outcome="proven"} 1',
    ]);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_sandbox_boot_seconds_count'), [
      'gvisor_sandbox_boot_seconds_count 1',
    ]);
  });

  it('exports the duration of boots and the time of the last proof', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.count(reportOf({ proof: { ...PROVEN, bootMs: 400 } as Report['proof'] }));
    metrics.count(reportOf({ proof: { ...PROVEN, bootMs: 100 } as Report['proof'] }));
    metrics.count(BROKEN);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_sandbox_boot_seconds_sum'), [
      'gvisor_sandbox_boot_seconds_sum 0.5',
    ]);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_sandbox_boot_seconds_count'), [
      'gvisor_sandbox_boot_seconds_count 2',
    ]);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_last_boot_seconds'), ['gvisor_last_boot_seconds 0.1']);
    const provenAt = Date.parse('2026-03-01T10:00:00Z') / 1_000;
    assert.deepEqual(await samplesOf(metrics, 'gvisor_last_proof_timestamp_seconds'), [
      `gvisor_last_proof_timestamp_seconds ${provenAt}`,
    ]);
  });

  it('exports the interval of proofs', async () => {
    assert.deepEqual(await samplesOf(new Metrics('0.1.0', 600_000), 'gvisor_proof_interval_seconds'), [
      'gvisor_proof_interval_seconds 600',
    ]);
  });

  it('exports only the current releases of the node', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.publish(reportOf({ facts: { runsc: 'release-20250101.0' } }));
    metrics.publish(reportOf());
    assert.deepEqual(await samplesOf(metrics, 'gvisor_node_info'), [
      'gvisor_node_info{runsc="release-20260223.0",platform="systrap",containerd="v2.4.2",kernel="6.8.0"} 1',
    ]);
  });

  it('exports its clock at the scrape', async () => {
    const before = Date.now() / 1_000;
    const [line = ''] = await samplesOf(new Metrics('0.1.0'), 'gvisor_time_seconds');
    const exported = Number(line.split(' ')[1]);
    assert.ok(exported >= before && exported <= Date.now() / 1_000, line);
  });

  it('exports orphans of probes and unwatched directories', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.publishOrphans(3);
    metrics.publishUnwatched(2);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_probe_orphans'), ['gvisor_probe_orphans 3']);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_unwatched_directories'), [
      'gvisor_unwatched_directories 2',
    ]);
  });

  it('counts requests to the API server', async () => {
    const metrics = new Metrics('0.1.0');
    for (const code of [200, 200, 409]) metrics.countRequest('PATCH', code);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_api_requests_total'), [
      'gvisor_api_requests_total{verb="PATCH",code="200"} 2',
      'gvisor_api_requests_total{verb="PATCH",code="409"} 1',
    ]);
  });

  it('follows the naming of Prometheus, and includes the metrics of the process', async () => {
    const { body, type } = await new Metrics('0.1.0').text();
    assert.match(type, /^text\/plain; version=0\.0\.4/);
    assert.match(body, /^process_resident_memory_bytes \d+/m);
    assert.doesNotMatch(body, /nodejs_/);
    for (const [, name, kind] of body.matchAll(/^# TYPE (gvisor_\S+) (\S+)$/gm)) {
      assert.match(name ?? '', /^[a-z_]+$/);
      assert.equal(name?.endsWith('_total'), kind === 'counter', name);
      assert.match(body, new RegExp(`^# HELP ${name} \\S.*\\.$`, 'm'));
    }
  });
});

const POD = { namespace: 'eval', name: 'p', uid: 'u', handler: 'runsc', evidence: '' };
const UPDATED = 'gvisor_namespaces_last_update_timestamp_seconds';

describe('the metrics of pods', () => {
  it('counts pods in gVisor without effective limits, unknown ones not among them', async () => {
    const { pods, metrics } = fresh();
    const all = [{ ...POD, limited: false }, { ...POD, limited: false }, { ...POD, limited: true }, POD];
    for (const [seen, expected] of [
      [all, 2],
      [[POD], 0],
    ] as const) {
      pods.publish({ pods: seen, unsandboxed: [], weakened: [], atMs: 0 }, new Set());
      assert.deepEqual(await samplesOf(metrics, 'gvisor_unlimited_pods'), [
        `gvisor_unlimited_pods ${expected}`,
      ]);
    }
  });

  it('counts pods outside gVisor without their names, once pods were read', async () => {
    const { pods, metrics } = fresh();
    assert.deepEqual(await samplesOf(metrics, 'gvisor_unsandboxed_pods'), []);
    const outside = [POD, { ...POD, namespace: 'other' }];
    for (const unsandboxed of [outside, []]) {
      pods.publish({ pods: outside, unsandboxed, weakened: [], atMs: 0 }, new Set(['eval', 'other']));
      const text = (await metrics.text()).body;
      assert.match(text, new RegExp(`^gvisor_unsandboxed_pods ${unsandboxed.length}$`, 'm'));
      assert.doesNotMatch(text, /"(eval|other)"/);
    }
  });

  it('counts pods of an unknown runtime where gVisor is required', async () => {
    const { pods, metrics } = fresh();
    const known = { ...POD, sandboxed: true };
    const elsewhere = { ...POD, namespace: 'other' };
    for (const [seen, expected] of [
      [[POD, POD, known, elsewhere], 2],
      [[known, elsewhere], 0],
    ] as const) {
      pods.publish({ pods: seen, unsandboxed: [], weakened: [], atMs: 7_000 }, new Set(['eval']));
      assert.deepEqual(await samplesOf(metrics, 'gvisor_unknown_pods'), [`gvisor_unknown_pods ${expected}`]);
    }
    assert.deepEqual(await samplesOf(metrics, 'gvisor_pods_last_seen_timestamp_seconds'), [
      'gvisor_pods_last_seen_timestamp_seconds 7',
    ]);
  });

  it('counts weakened pods, and those with a way out as outside gVisor where it is required', async () => {
    const { pods, metrics } = fresh();
    const weak = (severity: 'blocker' | 'warning', namespace: string) => {
      const how = { flag: 'a', value: 'b', severity, why: 'c' };
      return { ...POD, sandboxed: true, namespace, weak: [how] };
    };
    const weakened = [weak('blocker', 'eval'), weak('warning', 'eval'), weak('blocker', 'other')];
    pods.publish({ pods: weakened, unsandboxed: [], weakened, atMs: 0 }, new Set(['eval']));
    assert.deepEqual(await samplesOf(metrics, 'gvisor_weakened_pods'), ['gvisor_weakened_pods 3']);
    const outside = await samplesOf(metrics, 'gvisor_unsandboxed_pods');
    assert.deepEqual(outside, ['gvisor_unsandboxed_pods 1']);
    pods.publish({ pods: [], unsandboxed: [], weakened: [], atMs: 0 }, new Set(['eval']));
    assert.deepEqual(await samplesOf(metrics, 'gvisor_weakened_pods'), ['gvisor_weakened_pods 0']);
  });

  it('exports the last update of namespaces only where they are watched', async () => {
    const { pods, metrics } = fresh();
    assert.deepEqual(await samplesOf(metrics, UPDATED), []);
    pods.watchNamespaces();
    assert.deepEqual(await samplesOf(metrics, UPDATED), [`${UPDATED} 0`]);
    pods.setNamespacesUpdated(9_000);
    assert.deepEqual(await samplesOf(metrics, UPDATED), [`${UPDATED} 9`]);
  });
});

function fresh() {
  const metrics = new Metrics('0.1.0');
  return { metrics, pods: metrics.pods };
}

/** Findings of a host whose containerd has only runc, or does not respond. */
function check(host: string, responds = true): Promise<readonly Finding[]> {
  const cri = fakeCri(responds ? criStatus('v2.1.5', {}) : undefined);
  const options = { now: () => 0, signal: new AbortController().signal };
  return runChecks(CAUSE_CHECKS, inputsOf(sourcesOf(host, { cri })), options);
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
    it(`finds no traces on ${host}`, async () => assert.equal(hasTraces(await check(host)), false));

    it(`is undefined while the containerd of ${host} does not respond`, async () =>
      assert.equal(hasTraces(await check(host, false)), undefined));
  }

  it('finds runsc and the shim without a handler', async () => {
    assert.equal(hasTraces(await check('kubeadm-no-config')), true);
  });

  it('finds the handler without programs', async () => {
    assert.equal(hasTraces(await check('debian-shim-missing')), true);
  });

  const table: readonly [string, readonly Finding[], boolean | undefined][] = [
    ['nothing', NOTHING, false],
    ['a configured handler, while containerd is silent', [CONFIGURED, SILENT, ...NO_PROGRAMS], true],
    ['nothing on disk, while containerd is silent', [NOT_CONFIGURED, SILENT], undefined],
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
    it(`is ${expected} with ${what}`, () => assert.equal(hasTraces(findings), expected));
});

describe('gvisor_node_expected', () => {
  const bare = reportOf({
    findings: NOTHING,
    proof: { kind: 'failed', reason: 'HandlerNotLoaded', message: '' },
  });
  const expected = async (metrics: Metrics) =>
    (await samplesOf(metrics, 'gvisor_node_expected')).map((line) => Number(line.split(' ')[1]));

  it('is 0 without traces and without an earlier proof', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.count(bare);
    assert.deepEqual(await expected(metrics), [], 'the Node was not read yet');
    metrics.noteProvenOnce(false);
    assert.deepEqual(await expected(metrics), [0]);
  });

  it('is 1 after an earlier proof, without traces', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.count(bare);
    metrics.noteProvenOnce(true);
    assert.deepEqual(await expected(metrics), [1]);
    metrics.noteProvenOnce(false); // the annotation was removed
    assert.deepEqual(await expected(metrics), [0]);
  });

  it('is 1 with traces, and persists while they are unknown', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.noteProvenOnce(false);
    metrics.count(reportOf({ findings: [CONFIGURED] }));
    assert.deepEqual(await expected(metrics), [1]);
    metrics.count(reportOf({ findings: [SILENT] }));
    assert.deepEqual(await expected(metrics), [1]);
    metrics.count(bare);
    assert.deepEqual(await expected(metrics), [0]);
  });

  it('is 1 where EXPECT_GVISOR is set', async () => {
    const metrics = new Metrics('0.1.0', 0, true);
    metrics.noteProvenOnce(false);
    metrics.count({ ...bare, verdict: PROVEN_VERDICT });
    assert.deepEqual(await expected(metrics), [1]);
  });
});
