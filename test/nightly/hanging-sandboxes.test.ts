import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { processesIn } from '../../cluster/machine/machine.ts';
import { SHIM } from '../../cluster/node/node.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { ensureImage } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { deployImage } from '../e2e/agents.ts';
import { deletePods } from '../e2e/e2e-cluster.ts';
import { runWithKubectl } from '../e2e/installation.ts';
import { useMonitoredCluster, watchAlerts } from '../e2e/monitored-cluster.ts';
import { RecordedPlugin } from '../e2e/recorded-plugin.ts';

const monitored = useMonitoredCluster();
const cluster = () => monitored().cluster;
const { fires, resolves } = watchAlerts(() => monitored().prometheus);
const [CONTINUED, KILLED] = ['continued', 'killed'] as const;
/** A pod counts as stuck after a minute. */
const TIMEOUT_MS = 240_000;

type Problem = { readonly reason: string; readonly pids: readonly number[] };
type Explanation = {
  readonly reason: string;
  readonly cause?: string;
  readonly sandboxProblems?: readonly Problem[];
  readonly sandboxes?: { readonly problems: readonly Problem[]; readonly restart: string };
};

describe('sandboxes that hang', () => {
  let plugin: RecordedPlugin;
  const explain = async (target: string) =>
    JSON.parse((await plugin.run(`why ${target} -o json`)).text) as Explanation;
  /** Waits until a pod hangs in Terminating; returns the PIDs of its shims. */
  const hangs = (pod: string) =>
    waitFor(`why ${pod} to name its shims`, TIMEOUT_MS, async () => {
      const { reason, cause, sandboxProblems = [] } = await explain(`pod/${pod}`);
      const shims = sandboxProblems.filter(({ reason }) => reason === 'ShimUnresponsive');
      return reason === 'Terminating' && cause === 'SandboxHangs' && shims.length > 0
        ? shims.flatMap(({ pids }) => pids).join(' ')
        : undefined;
    });

  before(async () => {
    await deployImage(cluster(), await ensureImage('agent-hurried'));
    plugin = await RecordedPlugin.install(cluster());
  });
  after(async () => {
    await deletePods(cluster(), CONTINUED, KILLED);
    await plugin.remove();
  });

  it('raise an alert, and end with the commands of its runbook', async () => {
    const { machine } = cluster().node('node-1');
    // Without a grace period the API server removes the object at once.
    const spec = { nodeName: 'node-1', terminationGracePeriodSeconds: 1 };
    for (const pod of [CONTINUED, KILLED])
      await runPod(cluster(), pod, evaluationPod(pod, { gvisor: true, spec }));
    const shims = processesIn(machine).filter(({ argv }) => argv[0] === SHIM);
    await machine.kill(
      'STOP',
      shims.map(({ pid }) => pid),
    );
    await cluster().kubectl(['delete', 'pod', CONTINUED, KILLED, '--wait=false']);
    const { annotations } = await fires('GVisorSandboxesHang', 'node-1');
    assert.match(
      annotations.description ?? '',
      /ShimUnresponsive \d+;.* a restart of containerd would lose pods;/,
    );
    const pids = { [CONTINUED]: await hangs(CONTINUED), [KILLED]: await hangs(KILLED) };
    assert.equal((await explain('node/node-1')).sandboxes?.restart, 'unsafe');

    const text = await readFile(join(REPO, 'docs/runbooks/GVisorSandboxesHang.md'), 'utf8');
    const blocks = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block.trim());
    for (const command of blocks.flatMap((block) => block.split('\n'))) {
      const pod = command.startsWith('kill -KILL') ? KILLED : CONTINUED;
      const words: Readonly<Record<string, string>> = {
        NODE: 'node-1',
        POD: pod,
        NAMESPACE: 'default',
        PID: pids[pod],
      };
      const script = command.replace(/\b[A-Z]{3,}\b/g, (word) => words[word] ?? word);
      if (script.startsWith('kubectl')) {
        // `why` exits with 1 for the pod, and prints what is expected.
        const output = await runWithKubectl(cluster(), `${script} || test $? = 1`, [
          join(plugin.directory, 'bin'),
        ]);
        assert.match(output, script.includes(' why ') ? /ShimUnresponsive/ : new RegExp(`${pod} `), script);
      } else {
        const output = await machine.run(['/bin/sh', '-c', script]);
        if (script.startsWith('ps ')) assert.match(output, /^ *\d+ +\d+ +T/m, output);
      }
    }
    await waitFor('the pods to be gone and the node to be well', TIMEOUT_MS, async () => {
      const left = await cluster().kubectl(['get', 'pods', '-o', 'name']);
      const { sandboxes } = await explain('node/node-1');
      const isWell = sandboxes?.problems.length === 0 && sandboxes.restart === 'safe';
      return left === '' && isWell ? true : undefined;
    });
    await resolves('GVisorSandboxesHang', 'node-1');
  });
});
