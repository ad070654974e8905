import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CAUSE_CHECKS, EVIDENCE_CHECKS } from '../../../agent/checks/checks.ts';
import { Metrics } from '../../../agent/http/metrics.ts';
import { STALE_MS } from '../../../agent/pods/sandbox-monitor.ts';
import { pass } from '../../../lib/checks/finding.ts';
import { blockerFinding, finding, PASSED, PROVEN, reportOf, unproven, verdictOf } from '../reports.ts';
import { INSTALLATIONS } from '../sample-installations.ts';

const CHECKS = [...CAUSE_CHECKS, ...EVIDENCE_CHECKS];

/** The samples of a metric, without its name: "{labels} value" or "value". */
async function samplesOf(metrics: Metrics, name: string): Promise<readonly string[]> {
  const { body } = await metrics.text();
  return [...body.matchAll(new RegExp(`^${name} ?((?:\\{.*\\} )?\\S+)$`, 'gm'))].map(
    ([, sample = '']) => sample,
  );
}

/** The samples that are not 0. */
const countedBy = async (metrics: Metrics, name: string) =>
  (await samplesOf(metrics, name)).filter((sample) => !sample.endsWith(' 0'));

/** Metrics after these reports were published. */
function published(...reports: readonly ReturnType<typeof reportOf>[]): Metrics {
  const metrics = new Metrics('0.1.0', 'runsc');
  for (const report of reports) metrics.publish(report);
  return metrics;
}

const BROKEN = reportOf({
  verdict: verdictOf('False', 'ShimNotFound'),
  proof: unproven('failed', 'ShimNotFound'),
  findings: [finding(blockerFinding('IsolationWeakened'), 'isolation')],
});

describe('Metrics', () => {
  it('have no more than 85 series on a healthy node', async () => {
    const metrics = new Metrics('0.1.0', 'runsc', 600_000);
    const findings = CHECKS.map(({ id }) => finding(pass(''), id));
    const report = reportOf({ findings, facts: { gpu: 'true' }, expected: true });
    metrics.count(report);
    metrics.publish(report);
    metrics.publishSandboxes({ problems: [], restart: { state: 'safe', because: [] }, atMs: Date.now() });
    metrics.publishNamespaces(0);
    const pods = ['runc', 'runsc'].map((handler) => ({ ...POD, handler, sandboxed: handler === 'runsc' }));
    metrics.publishPods({ pods, unsandboxed: [], weakened: [], atMs: 0 }, new Set());
    for (const verb of ['GET', 'PATCH', 'POST']) metrics.countRequest(verb, 200);
    const { body } = await metrics.text();
    const series = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    assert.ok(series.length <= 85, `${series.length} series`);
  });

  it('exports nothing about the node before the first verdict is published', async () => {
    const metrics = new Metrics('0.1.0', 'runsc');
    for (const name of ['node_status', 'node_reason', 'node_expected', 'last_boot_seconds'])
      assert.deepEqual(await samplesOf(metrics, `gvisor_ready_${name}`), [], name);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_ready_build_info'), ['{version="0.1.0"} 1']);
  });

  it('exports problems of sandboxes while they last, and restart safety unless it is unknown', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 9_000 });
    const metrics = new Metrics('0.1.0', 'runsc');
    const names = ['sandbox_problems', 'containerd_restart_safe', 'sandboxes_last_scan_timestamp_seconds'];
    const samples = () => Promise.all(names.map((name) => samplesOf(metrics, `gvisor_ready_${name}`)));
    assert.deepEqual(await samples(), [[], [], []]);
    const problem = { message: '', sandbox: 'a', pids: [], since: '', ageSeconds: 0 };
    const reasons = ['ShimLingers', 'ShimLingers', 'SandboxOutdated'] as const;
    const problems = reasons.map((reason) => ({ ...problem, reason }));
    metrics.publishSandboxes({ problems, restart: { state: 'unsafe', because: [] }, atMs: 7_000 });
    const counts = ['{reason="ShimLingers"} 2', '{reason="SandboxOutdated"} 1'];
    assert.deepEqual(await samples(), [counts, ['0'], ['7']]);
    metrics.publishSandboxes({ problems: [], restart: { state: 'safe', because: [] }, atMs: 8_000 });
    assert.deepEqual(await samples(), [[], ['1'], ['8']]);
    const invalid = [
      finding(PASSED, 'handler-loaded'),
      finding(BROKEN.findings[0] ?? PASSED, 'handler-configured'),
    ];
    metrics.publish(reportOf({ findings: invalid }));
    assert.deepEqual(await samples(), [[], ['0'], ['8']]);
    metrics.publish(reportOf({}));
    metrics.publishSandboxes({ problems: [], restart: { state: 'unknown', because: ['x'] }, atMs: 9_000 });
    assert.deepEqual(await samples(), [[], [], ['9']]);
    metrics.publishSandboxes({ problems, restart: { state: 'unsafe', because: [] }, atMs: 9_000 });
    t.mock.timers.setTime(9_000 + STALE_MS);
    assert.deepEqual(await samples(), [counts, ['0'], ['9']]);
    t.mock.timers.tick(1);
    assert.deepEqual(await samples(), [[], [], ['9']]);
  });

  it('exports one status, one reason, and one status of each check', async () => {
    const metrics = published(reportOf({ findings: [finding(PASSED, 'isolation')] }), BROKEN);
    const statuses = ['{status="False"} 1', '{status="True"} 0', '{status="Unknown"} 0'];
    assert.deepEqual((await samplesOf(metrics, 'gvisor_ready_node_status')).toSorted(), statuses);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_ready_node_reason'), ['{reason="ShimNotFound"} 1']);
    const checks = ['{check="isolation",status="fail"} 1'];
    assert.deepEqual(await samplesOf(metrics, 'gvisor_ready_check_status'), checks);
  });

  it('counts probes by outcome, from 0, and transitions by the reasons that happened', async () => {
    const metrics = new Metrics('0.1.0', 'runsc');
    assert.equal((await samplesOf(metrics, 'gvisor_ready_probes_total')).length, 6);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_ready_transitions_total'), []);
    for (const report of [reportOf(), reportOf(), BROKEN, BROKEN, reportOf()]) {
      const anew = { ...report, proof: { ...report.proof } };
      for (const _ of ['new', 'cached']) metrics.count(anew);
      metrics.publish(report);
    }
    const probes = ['{outcome="proven"} 3', '{outcome="failed"} 2'];
    assert.deepEqual((await countedBy(metrics, 'gvisor_ready_probes_total')).sort(), probes.sort());
    // The first verdict is not a transition.
    const transitions = ['{reason="ShimNotFound"} 1', '{reason="SandboxProven"} 1'];
    assert.deepEqual(await countedBy(metrics, 'gvisor_ready_transitions_total'), transitions);
  });

  it('exports whether gVisor supports the NVIDIA driver, where that is known', async () => {
    const metrics = new Metrics('0.1.0', 'runsc');
    const samples = () => samplesOf(metrics, 'gvisor_ready_gpu_driver_supported');
    assert.deepEqual(await samples(), []);
    for (const [gpu, expected] of [
      ['true', ['1']],
      ['false', ['0']],
      [undefined, []],
    ] as const) {
      metrics.publish(reportOf({ facts: { gpu } }));
      assert.deepEqual(await samples(), expected);
    }
  });

  it('exports whether the last installation failed, where the installer was used', async () => {
    const { done, failed, atWork, interrupted } = INSTALLATIONS;
    for (const [installation, expected] of [
      [undefined, []],
      [done, ['0']],
      [failed, ['1']],
      [{ ...failed, ...atWork }, ['0']],
      [interrupted, ['1']],
    ] as const) {
      const report = reportOf(installation && { installation });
      const metrics = published(report, BROKEN, report);
      assert.deepEqual(await samplesOf(metrics, 'gvisor_ready_installation_failed'), expected);
    }
  });

  it('exports the duration of boots and the time of the last proof', async () => {
    const metrics = new Metrics('0.1.0', 'runsc');
    for (const bootMs of [400, 100])
      metrics.count(reportOf({ proof: { ...PROVEN, bootMs } as typeof PROVEN }));
    metrics.count(BROKEN);
    for (const [name, value] of [
      ['sandbox_boot_seconds_sum', 0.5],
      ['sandbox_boot_seconds_count', 2],
      ['last_boot_seconds', 0.1],
      ['last_proof_timestamp_seconds', Date.parse('2026-03-01T10:00:00Z') / 1_000],
    ] as const)
      assert.deepEqual(await samplesOf(metrics, `gvisor_ready_${name}`), [String(value)], name);
  });

  it('exports the clock, the interval of proofs, the current releases, and what it is told', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 5_000 });
    const metrics = new Metrics('0.1.0', 'runsc', 600_000);
    for (const facts of [{ runsc: 'release-20250101.0' }, reportOf().facts])
      metrics.publish(reportOf({ facts }));
    metrics.publishOrphans(3);
    metrics.publishUnwatched(2);
    for (const code of [200, 200, 409]) metrics.countRequest('PATCH', code);
    const releases = '{runsc="release-20260223.0",platform="systrap",containerd="v2.4.2",kernel="6.8.0"} 1';
    for (const [name, ...samples] of [
      ['time_seconds', '5'],
      ['proof_interval_seconds', '600'],
      ['node_info', releases],
      ['probe_orphans', '3'],
      ['unwatched_directories', '2'],
      ['api_requests_total', '{verb="PATCH",code="200"} 2', '{verb="PATCH",code="409"} 1'],
    ] as const)
      assert.deepEqual(await samplesOf(metrics, `gvisor_ready_${name}`), samples, name);
  });

  it('follows the naming of Prometheus, and includes the metrics of the process', async () => {
    const { body, type } = await new Metrics('0.1.0', 'runsc').text();
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
const UPDATED = 'gvisor_ready_namespaces_last_update_timestamp_seconds';

describe('the metrics of pods', () => {
  type Seen = Parameters<Metrics['publishPods']>[0];
  /** Publishes pods of a node where the namespace eval requires gVisor. */
  const publish = (metrics: Metrics, seen: Partial<Seen>) =>
    metrics.publishPods({ pods: [], unsandboxed: [], weakened: [], atMs: 0, ...seen }, new Set(['eval']));
  const known = { ...POD, sandboxed: true };
  const elsewhere = { ...POD, namespace: 'other' };
  const limited = { ...POD, limited: true };
  const unlimited = { ...POD, limited: false };
  const weak = (severity: 'blocker' | 'warning', namespace: string) => {
    const how = { flag: 'a', value: 'b', severity, why: 'c' };
    return { ...known, namespace, weak: [how] };
  };
  const weakened = [weak('blocker', 'eval'), weak('warning', 'eval'), weak('blocker', 'other')];

  // biome-ignore format: one row a line
  for (const [what, name, seen, expected] of [
    ['pods in gVisor without effective limits', 'unlimited', { pods: [unlimited, unlimited, limited, POD] }, 2],
    ['no pod whose limits are unknown as unlimited', 'unlimited', { pods: [POD] }, 0],
    ['pods of an unknown runtime where gVisor is required', 'unknown', { pods: [POD, POD, known, elsewhere] }, 2],
    ['no pod of a known runtime, or elsewhere, as unknown', 'unknown', { pods: [known, elsewhere] }, 0],
    ['weakened pods', 'weakened', { pods: weakened, weakened }, 3],
    ['weakened pods with a way out as outside gVisor where it is required', 'unsandboxed', { pods: weakened, weakened }, 1],
    ['pods outside gVisor', 'unsandboxed', { pods: [POD, elsewhere], unsandboxed: [POD, elsewhere] }, 2],
  ] as const)
    it(`counts ${what}, without their names, until they are gone`, async () => {
      const metrics = new Metrics('0.1.0', 'runsc');
      publish(metrics, seen);
      assert.deepEqual(await samplesOf(metrics, `gvisor_ready_${name}_pods`), [String(expected)]);
      assert.doesNotMatch((await metrics.text()).body, /"(eval|other)"/);
      publish(metrics, {});
      assert.deepEqual(await samplesOf(metrics, `gvisor_ready_${name}_pods`), ['0']);
    });

  it('exist once pods were read, with the time', async () => {
    const metrics = new Metrics('0.1.0', 'runsc');
    assert.deepEqual(await samplesOf(metrics, 'gvisor_ready_unsandboxed_pods'), []);
    publish(metrics, { atMs: 7_000 });
    assert.deepEqual(await samplesOf(metrics, 'gvisor_ready_unsandboxed_pods'), ['0']);
    assert.deepEqual(await samplesOf(metrics, 'gvisor_ready_pods_last_seen_timestamp_seconds'), ['7']);
  });

  it('have the last update of namespaces only where they are watched', async () => {
    const metrics = new Metrics('0.1.0', 'runsc');
    const updates: (readonly string[])[] = [await samplesOf(metrics, UPDATED)];
    metrics.publishNamespaces(0);
    updates.push(await samplesOf(metrics, UPDATED));
    metrics.publishNamespaces(9_000);
    updates.push(await samplesOf(metrics, UPDATED));
    assert.deepEqual(updates, [[], ['0'], ['9']]);
  });
});

it('gvisor_ready_node_expected is what the report says, and persists while it does not', async () => {
  const metrics = new Metrics('0.1.0', 'runsc');
  for (const [expected, value] of [
    [undefined, []],
    [true, ['1']],
    [undefined, ['1']],
    [false, ['0']],
  ] as const) {
    metrics.count(reportOf(expected === undefined ? {} : { expected }));
    assert.deepEqual(await samplesOf(metrics, 'gvisor_ready_node_expected'), value);
  }
});

describe('the metrics of additional handlers', () => {
  const kvm = reportOf({ handler: 'kvm' });
  const values = async (metrics: Metrics) => {
    const { body } = await metrics.text();
    const lines = body.split('\n').filter((line) => line.startsWith('gvisor_ready_handler_'));
    return Object.fromEntries(lines.map((line) => line.slice('gvisor_ready_handler_'.length).split(' ')));
  };

  it('are absent without additional handlers', async () => {
    assert.deepEqual(await values(published(reportOf())), {});
  });

  it('show the published verdict, its reason, the last proof and boot, and leave the main one alone', async () => {
    const metrics = published(reportOf(), kvm);
    metrics.count({ ...kvm, expected: true });
    const seen = (isTrue: '0' | '1', isFalse: '0' | '1', reason: string) => ({
      'status{handler="kvm",status="True"}': isTrue,
      'status{handler="kvm",status="False"}': isFalse,
      'status{handler="kvm",status="Unknown"}': '0',
      [`reason{handler="kvm",reason="${reason}"}`]: '1',
      'last_proof_timestamp_seconds{handler="kvm"}': '1772359200',
      'last_boot_seconds{handler="kvm"}': '0.5',
      'expected{handler="kvm"}': '1',
    });
    assert.deepEqual(await values(metrics), seen('1', '0', 'SandboxProven'));
    metrics.publish({ ...BROKEN, handler: 'kvm' });
    assert.deepEqual(await values(metrics), seen('0', '1', 'ShimNotFound'));
    assert.ok((await samplesOf(metrics, 'gvisor_ready_node_status')).includes('{status="True"} 1'));
  });
});
