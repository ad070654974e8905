import type { Cluster } from '../../cluster/cluster.ts';
import { evaluationPod } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { applyOverlay, waitForRollout } from './agents.ts';
import type { Plugin } from './plugin-run.ts';

/**
 * Requires gVisor in the namespace `evaluations`, in which two pods run on node-2: `in` asks for gVisor, and `plain` was
 * there before the requirement. Returns once the agent has told the plugin what both run in, and said so of `plain`.
 */
export async function evaluate(cluster: Cluster, plugin: Plugin): Promise<void> {
  const there = ['-n', 'evaluations'];
  await applyOverlay(cluster, ['enforce']);
  await waitForRollout(cluster);
  await cluster.kubectl(['delete', 'namespace', 'evaluations', '--ignore-not-found'], undefined, 90_000);
  await cluster.kubectl(['create', 'namespace', 'evaluations']);
  await cluster.kubectl(['wait', ...there, '--for=create', 'serviceaccount/default', '--timeout=270s']);
  const spec = { nodeSelector: { 'kubernetes.io/hostname': 'node-2' } };
  for (const [name, gvisor] of [
    ['plain', false],
    ['in', true],
  ] as const)
    await cluster.kubectl(['apply', ...there, '-f', '-'], evaluationPod(name, { gvisor, spec }));
  await cluster.kubectl(
    ['wait', ...there, 'pod/plain', 'pod/in', '--for=condition=Ready', '--timeout=180s'],
    undefined,
    70_000,
  );
  await cluster.kubectl(['label', 'namespace', 'evaluations', 'require-gvisor=true']);
  await waitFor('the agent to see both pods', 20_000, async () =>
    (await plugin.ask(['pods', ...there])).text.includes('?') ? undefined : true,
  );
  // It may have read them just before their namespace required anything.
  await waitFor('its event on the pod outside', 20_000, async () =>
    / UnsandboxedPod \S+ ago: /.test((await plugin.ask(['why', 'plain', ...there])).text) ? true : undefined,
  );
}
