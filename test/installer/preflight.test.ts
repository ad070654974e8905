import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Node } from '../../installer/node.ts';
import { preflight } from '../../installer/preflight.ts';
import { PLATFORMS } from '../../installer/print.ts';
import { readDistribution } from '../../lib/node/containerd/distribution.ts';
import { hostOf } from '../lib/node/checks/fake-node.ts';

/** Systems on which the installer must write nothing, and its advice. */
const REFUSED = {
  'k3s-ready': /k3s writes containerd's configuration itself.*config-v3\.toml\.d.*"print k3s"/,
  'rke2-ready': /RKE2 writes.*then restart RKE2.*"print rke2"/,
  'k0s-ready': /k0s writes.*\/etc\/k0s\/containerd\.d.*"print k0s"/,
  'microk8s-ready': /MicroK8s writes.*containerd-template\.toml.*"print microk8s"/,
  'talos-ready': /Talos writes.*the gvisor system extension.*"print talos"/,
  'eks-plain': /EKS writes.*spec\.containerd\.config of the NodeConfig.*"print eks"/,
  'bottlerocket-plain': /Bottlerocket: .*read-only.*take nodes of AL2023/,
  'gke-plain': /GKE: .*GKE Sandbox/,
  'cos-gvisor': /GKE: .*GKE Sandbox/,
  'crio-unsupported': /CRI-O: .*containerd only.*\/etc\/crio\/crio\.conf\.d/,
};

describe('preflight', () => {
  for (const [fixture, advice] of Object.entries(REFUSED))
    it(`refuses ${fixture} before it asks containerd`, async () => {
      const host = hostOf(fixture);
      const node = { host, distribution: await readDistribution(host) } as Node;
      const refusal = await preflight(node, undefined).then(
        () => undefined,
        (error: Error) => error,
      );
      assert.match(refusal?.message ?? '', advice);
      const [, platform] = /"print ([\w-]+)"/.exec(refusal?.message ?? '') ?? [];
      assert.ok(platform === undefined || (PLATFORMS as readonly string[]).includes(platform), platform);
    });
});
