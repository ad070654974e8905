import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Metrics } from '../../../agent/http/metrics.ts';
import { REASONS } from '../../../agent/reasons.ts';
import type { Report } from '../../../agent/report.ts';
import { blockerFinding, finding, PASSED, PROVEN, reportOf, unproven, verdictOf } from '../reports.ts';
import { named } from '../text/samples.ts';

/** Those that are not 0. */
const counted = (lines: readonly string[]) => lines.filter((line) => !line.endsWith(' 0'));

const BROKEN = reportOf({
  verdict: verdictOf('False', 'ShimNotFound'),
  proof: unproven('failed', 'ShimNotFound'),
  findings: [finding(blockerFinding('IsolationWeakened'), 'isolation')],
});

describe('Metrics', () => {
  it('says nothing of the node before anything is published: what a predecessor said stands', async () => {
    const metrics = new Metrics('0.1.0');
    const silent = [
      'gvisor_node_status',
      'gvisor_node_reason',
      'gvisor_node_expected',
      'gvisor_last_boot_seconds',
    ];
    for (const name of silent) assert.deepEqual(await named(metrics, name), [], name);
    assert.deepEqual(await named(metrics, 'gvisor_build_info'), ['gvisor_build_info{version="0.1.0"} 1']);
  });

  it('has one status and one reason in force', async () => {
    const metrics = new Metrics('0.1.0');
    for (const report of [reportOf(), BROKEN]) metrics.publish(report);
    assert.deepEqual(await named(metrics, 'gvisor_node_status'), [
      'gvisor_node_status{status="True"} 0',
      'gvisor_node_status{status="False"} 1',
      'gvisor_node_status{status="Unknown"} 0',
    ]);
    assert.deepEqual(await named(metrics, 'gvisor_node_reason'), [
      'gvisor_node_reason{reason="ShimNotFound"} 1',
    ]);
  });

  it('has one status of each check in force, and its duration in seconds', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.publish(reportOf({ findings: [finding(PASSED, 'isolation')] }));
    metrics.publish(BROKEN);
    assert.deepEqual(await named(metrics, 'gvisor_check_status'), [
      'gvisor_check_status{check="isolation",status="fail"} 1',
    ]);
    assert.deepEqual(await named(metrics, 'gvisor_check_duration_seconds'), [
      'gvisor_check_duration_seconds{check="isolation"} 0.005',
    ]);
  });

  it('counts probes by outcome and transitions by reason', async () => {
    const metrics = new Metrics('0.1.0');
    for (const report of [reportOf(), reportOf(), BROKEN, BROKEN, reportOf()]) {
      metrics.count({ ...report, proof: { ...report.proof } });
      metrics.publish(report);
    }
    assert.deepEqual(counted(await named(metrics, 'gvisor_probes_total')), [
      'gvisor_probes_total{outcome="proven"} 3',
      'gvisor_probes_total{outcome="failed"} 2',
    ]);
    // The first verdict of an agent is no change.
    assert.deepEqual(counted(await named(metrics, 'gvisor_transitions_total')), [
      'gvisor_transitions_total{reason="SandboxProven"} 1',
      'gvisor_transitions_total{reason="ShimNotFound"} 1',
    ]);
  });

  it('has counters of every outcome and reason from the start, so that the first increase is seen', async () => {
    const metrics = new Metrics('0.1.0');
    assert.equal((await named(metrics, 'gvisor_probes_total')).length, 6);
    const reasons = Object.keys(REASONS).map((reason) => `gvisor_transitions_total{reason="${reason}"} 0`);
    assert.deepEqual(await named(metrics, 'gvisor_transitions_total'), reasons);
  });

  it('counts a proof once that stands for several looks', async () => {
    const metrics = new Metrics('0.1.0');
    for (let look = 0; look < 3; look++) metrics.count(reportOf());
    assert.deepEqual(counted(await named(metrics, 'gvisor_probes_total')), [
      'gvisor_probes_total{outcome="proven"} 1',
    ]);
    assert.deepEqual(await named(metrics, 'gvisor_sandbox_boot_seconds_count'), [
      'gvisor_sandbox_boot_seconds_count 1',
    ]);
  });

  it('measures boots, and when the last proof was', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.count(reportOf({ proof: { ...PROVEN, bootMs: 400 } as Report['proof'] }));
    metrics.count(reportOf({ proof: { ...PROVEN, bootMs: 100 } as Report['proof'] }));
    metrics.count(BROKEN);
    assert.deepEqual(await named(metrics, 'gvisor_sandbox_boot_seconds_sum'), [
      'gvisor_sandbox_boot_seconds_sum 0.5',
    ]);
    assert.deepEqual(await named(metrics, 'gvisor_sandbox_boot_seconds_count'), [
      'gvisor_sandbox_boot_seconds_count 2',
    ]);
    assert.deepEqual(await named(metrics, 'gvisor_last_boot_seconds'), ['gvisor_last_boot_seconds 0.1']);
    const provenAt = Date.parse('2026-03-01T10:00:00Z') / 1_000;
    assert.deepEqual(await named(metrics, 'gvisor_last_proof_timestamp_seconds'), [
      `gvisor_last_proof_timestamp_seconds ${provenAt}`,
    ]);
  });

  it('tells how often gVisor is proven', async () => {
    assert.deepEqual(await named(new Metrics('0.1.0', 600_000), 'gvisor_proof_interval_seconds'), [
      'gvisor_proof_interval_seconds 600',
    ]);
  });

  it('names the releases of the node once, with nothing left of earlier ones', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.publish(reportOf({ facts: { runsc: 'release-20250101.0' } }));
    metrics.publish(reportOf());
    assert.deepEqual(await named(metrics, 'gvisor_node_info'), [
      'gvisor_node_info{runsc="release-20260223.0",platform="systrap",containerd="v2.4.2",kernel="6.8.0"} 1',
    ]);
  });

  it('tells its clock, by which the ages of its other times are told', async () => {
    const before = Date.now() / 1_000;
    const [line = ''] = await named(new Metrics('0.1.0'), 'gvisor_time_seconds');
    const told = Number(line.split(' ')[1]);
    assert.ok(told >= before && told <= Date.now() / 1_000, line);
  });

  it('shows what earlier probes left, and which folders are not watched', async () => {
    const metrics = new Metrics('0.1.0');
    metrics.publishOrphans(3);
    metrics.publishUnwatched(2);
    assert.deepEqual(await named(metrics, 'gvisor_probe_orphans'), ['gvisor_probe_orphans 3']);
    assert.deepEqual(await named(metrics, 'gvisor_unwatched_folders'), ['gvisor_unwatched_folders 2']);
  });

  it('counts requests to the API server', async () => {
    const metrics = new Metrics('0.1.0');
    for (const code of [200, 200, 409]) metrics.countRequest('PATCH', code);
    assert.deepEqual(await named(metrics, 'gvisor_api_requests_total'), [
      'gvisor_api_requests_total{verb="PATCH",code="200"} 2',
      'gvisor_api_requests_total{verb="PATCH",code="409"} 1',
    ]);
  });

  it('is Prometheus text, names counters and units as Prometheus does, and tells of the process', async () => {
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
