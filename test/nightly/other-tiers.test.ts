import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { patient } from '../../hack/run.ts';
import { failuresIn, runFile } from '../runner/run-file.ts';

/** Files of other tiers that also hold with another program, or have more to tell, and what chooses it. */
const AGAIN = {
  'containerd 1.7': {
    env: { E2E_CONTAINERD: '1.7' },
    files: [
      ...['e2e/isolation', 'e2e/pods', 'e2e/reboot', 'nightly/steady', 'nightly/weakened'],
      ...['nightly/hanging-sandboxes', 'waits/sandbox-problems'],
    ],
  },
  'rare stories, on every containerd, gVisor and Kubernetes': {
    env: { RARE: 'yes' },
    files: [
      'integration/containerd-agent',
      'integration/faults',
      'integration/proofs',
      'integration/runtimes',
      'waits/fleet-controller',
      'waits/sandbox-deaths',
      'e2e/reboot',
      'e2e/installer-daemonset',
      'manifests/kubeconform',
      'monitoring/alert-causes',
    ],
  },
  'Helm 3': { env: { CHART_HELM: 'helm-3' }, files: ['manifests/chart', 'manifests/chart-values'] },
} as const;

for (const [title, { env, files }] of Object.entries(AGAIN))
  describe(title, () => {
    for (const file of files)
      it(file, { timeout: patient(600_000) }, async ({ signal }) => {
        const limits = { testTimeoutMs: patient(100_000), fileTimeoutMs: patient(600_000) };
        const options = { ...limits, env, signal };
        const { passed, output } = await runFile(`test/${file}.test.ts`, options);
        assert.ok(passed, failuresIn(output));
      });
  });
