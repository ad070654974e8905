import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { limits } from '../../../agent/checks/limits.ts';
import type { Witness } from '../../../agent/proof/witness.ts';
import { inspect, outcome, sourcesOf, witnessOf } from './fake-node.ts';

const SLICE = 'kubepods-gvisor_ready.slice';
const ESCAPED = `/system.slice/${SLICE}:cri-containerd:1f`;

const lookAt = (changes: Partial<Witness>, requireLimits = false) =>
  inspect(limits, sourcesOf('kubeadm-ready', { requireLimits }), witnessOf(changes));

describe('limits', () => {
  it('passes a sandbox in the place that was asked for', async () => {
    const seen = await lookAt({
      cgroupParent: SLICE,
      cgroups: [`/kubepods.slice/${SLICE}/cri-containerd-1f.scope`],
    });
    assert.equal(outcome(seen), 'pass');
    assert.equal(outcome(await lookAt({})), 'pass');
  });

  it('warns of one that escaped, and says what to write with the systemd driver', async () => {
    const seen = await lookAt({ cgroupParent: SLICE, cgroups: [ESCAPED] });
    assert.equal(outcome(seen), 'warning LimitsNotEnforced');
    assert.equal(
      seen.message,
      `CPU and memory limits of pods are not enforced: the sandbox should be in ${SLICE} and is in ${ESCAPED}; the kubelet uses the systemd driver, so write systemd-cgroup = "true" into [runsc_config]`,
    );
  });

  it('refuses it where limits are required', async () => {
    assert.equal(
      outcome(await lookAt({ cgroupParent: SLICE, cgroups: [ESCAPED] }, true)),
      'blocker LimitsNotEnforced',
    );
  });

  it('says so where runsc is told to ignore cgroups', async () => {
    const seen = await lookAt({ cgroups: ['/system.slice'], flags: { 'ignore-cgroups': 'true' } });
    assert.equal(outcome(seen), 'warning LimitsNotEnforced');
    assert.match(seen.message, /; runsc is told to ignore cgroups$/);
  });

  it('gives no advice where the flag is set, and none on cgroupfs', async () => {
    const flags = { 'systemd-cgroup': 'true' };
    const set = await lookAt({ cgroupParent: SLICE, cgroups: [ESCAPED], flags });
    assert.match(set.message, / is in \S+$/);
    assert.match((await lookAt({ cgroups: ['/elsewhere/1f'] })).message, / is in \/elsewhere\/1f$/);
  });

  it('wants both controllers in place', async () => {
    const seen = await lookAt({ cgroups: ['/kubepods/gvisor_ready/1f', '/1f'] });
    assert.equal(outcome(seen), 'warning LimitsNotEnforced');
    assert.equal(outcome(await lookAt({ cgroups: [] })), 'warning LimitsNotEnforced');
  });

  it('has nothing to judge without a sandbox, or without a pod to learn from', async () => {
    assert.equal(outcome(await inspect(limits, sourcesOf('kubeadm-ready'))), 'skipped');
    assert.equal(outcome(await lookAt({ cgroupParent: '' })), 'skipped');
  });

  it('is unknown without a pod to learn from, where limits are required', async () => {
    assert.equal(outcome(await lookAt({ cgroupParent: '' }, true)), 'unknown CheckFailed');
  });

  it('withholds readiness only where limits are required', () => {
    for (const requireLimits of [true, false])
      assert.equal(limits.required?.(sourcesOf('kubeadm-ready', { requireLimits })), requireLimits);
  });
});
