import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { limits } from '../../../agent/checks/limits.ts';
import type { Witness } from '../../../agent/proof/witness.ts';
import { inspect, outcome, outcomeOf, sourcesOf, witnessOf } from './fake-node.ts';

const SLICE = 'kubepods-gvisor_ready.slice';
const ESCAPED = `/system.slice/${SLICE}:cri-containerd:1f`;

const judge = (changes: Partial<Witness>, requireLimits = false) =>
  inspect(limits, sourcesOf('kubeadm-ready', { requireLimits }), witnessOf(changes));

describe('limits', () => {
  it('passes a sandbox in the requested cgroup', async () => {
    const seen = await judge({
      cgroupParent: SLICE,
      cgroups: [`/kubepods.slice/${SLICE}/cri-containerd-1f.scope`],
    });
    assert.equal(outcome(seen), 'pass');
    assert.equal(outcome(await judge({})), 'pass');
  });

  it('warns of a sandbox outside, with advice for the systemd driver', async () => {
    const seen = await judge({ cgroupParent: SLICE, cgroups: [ESCAPED] });
    assert.equal(outcome(seen), 'warning LimitsNotEnforced');
    assert.equal(
      seen.message,
      `CPU and memory limits of pods are not enforced: the sandbox should be in ${SLICE} and is in ${ESCAPED}; the kubelet uses the systemd driver, so write systemd-cgroup = "true" into [runsc_config]`,
    );
  });

  it('blocks where limits are required', async () => {
    assert.equal(
      outcome(await judge({ cgroupParent: SLICE, cgroups: [ESCAPED] }, true)),
      'blocker LimitsNotEnforced',
    );
  });

  it('names ignore-cgroups as the cause', async () => {
    const seen = await judge({ cgroups: ['/system.slice'], flags: { 'ignore-cgroups': 'true' } });
    assert.equal(outcome(seen), 'warning LimitsNotEnforced');
    assert.match(seen.message, /; runsc runs with ignore-cgroups$/);
  });

  it('gives no advice when the flag is set, or for cgroupfs', async () => {
    const flags = { 'systemd-cgroup': 'true' };
    const set = await judge({ cgroupParent: SLICE, cgroups: [ESCAPED], flags });
    assert.match(set.message, / is in \S+$/);
    assert.match((await judge({ cgroups: ['/elsewhere/1f'] })).message, / is in \/elsewhere\/1f$/);
  });

  it('requires every controller to be in the cgroup', async () => {
    const seen = await judge({ cgroups: ['/kubepods/gvisor_ready/1f', '/1f'] });
    assert.equal(outcome(seen), 'warning LimitsNotEnforced');
    assert.equal(outcome(await judge({ cgroups: [] })), 'warning LimitsNotEnforced');
  });

  it("is skipped without a sandbox, or without a pod that shows the kubelet's cgroup", async () => {
    assert.equal(await outcomeOf(limits, sourcesOf('kubeadm-ready')), 'skipped');
    assert.equal(outcome(await judge({ cgroupParent: '' })), 'skipped');
  });

  it('is unknown without such a pod where limits are required', async () => {
    assert.equal(outcome(await judge({ cgroupParent: '' }, true)), 'unknown CheckFailed');
  });

  it('is required for readiness only where limits are required', () => {
    for (const requireLimits of [true, false])
      assert.equal(limits.required?.(sourcesOf('kubeadm-ready', { requireLimits })), requireLimits);
  });
});
