import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Node } from '../../installer/node.ts';
import { preflight } from '../../installer/preflight.ts';
import { readDistribution } from '../../lib/node/containerd/distribution.ts';
import { hostOf } from '../lib/node/checks/fake-node.ts';

/** Systems on which the installer must write nothing, and its advice. */
const REFUSED = {
  'k3s-ready': /k3s writes containerd's configuration itself.*config-v3\.toml\.d.*see print/,
  'rke2-ready': /RKE2 writes.*then restart RKE2.*see print/,
  'k0s-ready': /k0s writes.*\/etc\/k0s\/containerd\.d.*see print/,
  'microk8s-ready': /MicroK8s writes.*containerd-template\.toml.*see print/,
  'talos-ready': /Talos writes.*the gvisor system extension.*see print/,
  'eks-plain': /EKS writes.*spec\.containerd\.config of the NodeConfig.*see print/,
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
    });
});
