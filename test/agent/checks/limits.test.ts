import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkLimits } from '../../../agent/checks/limits.ts';
import type { Witness } from '../../../lib/proof/witness.ts';
import { inspect, outcome, outcomeOf, sourcesOf, witnessOf } from './fake-node.ts';

const SLICE = 'kubepods-gvisor_ready.slice';
const INSIDE = [`/kubepods.slice/${SLICE}/cri-containerd-1f.scope`];
const OUTSIDE = [`/system.slice/${SLICE}:cri-containerd:1f`];

const ADVICE = '; the kubelet uses the systemd driver, so write systemd-cgroup = "true" into [runsc_config]';

describe('limits', () => {
  const [WARNS, BLOCKS] = ['warning LimitsNotEnforced', 'blocker LimitsNotEnforced'];
  type Row = readonly [name: string, Partial<Witness>, unlessRequired: string, required?: string];
  const WITNESSES: readonly Row[] = [
    ['in the requested cgroup', {}, 'pass', 'pass'],
    ['in the requested slice', { cgroupParent: SLICE, cgroups: INSIDE }, 'pass'],
    ['outside', { cgroupParent: SLICE, cgroups: OUTSIDE }, WARNS, BLOCKS],
    ['with one controller outside', { cgroups: ['/kubepods/gvisor_ready/1f', '/1f'] }, WARNS],
    ['in no cgroup', { cgroups: [] }, WARNS],
    ["without a pod that shows the kubelet's cgroup", { cgroupParent: '' }, 'skipped', 'unknown CheckFailed'],
  ];
  for (const [name, changes, ...outcomes] of WITNESSES)
    for (const [required, expected] of outcomes.entries())
      it(`judges a sandbox ${name}${required ? ', limits required' : ''}: ${expected}`, async () => {
        const sources = sourcesOf('kubeadm-ready', { requireLimits: required === 1 });
        assert.equal(await outcomeOf(checkLimits, sources, witnessOf(changes)), expected);
      });

  const MESSAGES: readonly (readonly [Partial<Witness>, advice: string])[] = [
    [{ cgroupParent: SLICE, cgroups: OUTSIDE }, ADVICE],
    [{ cgroupParent: SLICE, cgroups: OUTSIDE, flags: { 'systemd-cgroup': 'true' } }, ''],
    [{ cgroups: ['/elsewhere/1f'] }, ''],
    [{ cgroups: ['/elsewhere/1f'], flags: { 'ignore-cgroups': 'true' } }, '; runsc runs with ignore-cgroups'],
  ];
  for (const [changes, advice] of MESSAGES) {
    it(`advises "${advice}"`, async () => {
      const witness = witnessOf(changes);
      const { message } = await inspect(checkLimits, sourcesOf('kubeadm-ready'), witness);
      assert.equal(
        message,
        `CPU and memory limits of pods are not enforced: the sandbox should be in ${witness.cgroupParent} and is in ${witness.cgroups}${advice}`,
      );
    });
  }

  it('is skipped without a sandbox', async () =>
    assert.equal(outcome(await inspect(checkLimits, sourcesOf('kubeadm-ready'))), 'skipped'));
});
