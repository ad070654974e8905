import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { Prover } from '../../agent/proof/prover.ts';
import { gvisorConfig, RUNSC_CONFIG } from '../../cluster/node/config.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { Host } from '../../lib/host/host.ts';
import { isProbe } from '../../lib/proof/sandbox.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { cgroupsOfProbes } from '../e2e/own-cgroup.ts';
import { connect } from '../integration/integration-cluster.ts';

const NODES = [
  { name: 'node-1', containerd: '2', gvisor: 'current' },
  { name: 'node-2', containerd: '1.7', gvisor: '2025' },
] as const;
/** With this the sentry ends while it boots, after runsc has made everything that a sandbox has. */
const CANNOT_BOOT = '  fdlimit = "16"\n';

const cluster = useOwnCluster('boots', NODES, async () => {}, ['workload']);

describe('boots that fail', () => {
  for (const { name } of NODES) {
    const node = () => cluster().node(name);

    before(async () => {
      // It shows the kubelet's cgroup for pods.
      const pod = evaluationPod(`beside-${name}`, { gvisor: false, spec: { nodeName: name } });
      await runPod(cluster(), `beside-${name}`, pod);
      await node().write(RUNSC_CONFIG, `${gvisorConfig(node().spec)}${CANNOT_BOOT}`);
    });
    after(() => node().write(RUNSC_CONFIG, gvisorConfig(node().spec)));

    it(`leave nothing on ${name} after ${bootsToFail()} of them but the cgroup of the first`, {
      timeout: patient(1_800_000),
    }, async () => {
      const earlier = await remainsOf(node());
      assert.deepEqual(earlier.cgroups, []);
      await failToBoot(node(), bootsToFail());
      const remains = await waitFor('the last sandbox to be gone', 60_000, async () => {
        const now = await remainsOf(node());
        return isDeepStrictEqual({ ...now, cgroups: [] }, earlier) ? now : undefined;
      }).catch(() => remainsOf(node()));
      console.log(`${name}: ${JSON.stringify(remains)}`);
      assert.deepEqual({ ...remains, cgroups: [] }, earlier);
      assert.ok(remains.cgroups.length <= 1, `${remains.cgroups.length} cgroups remain`);
    });
  }
});

function bootsToFail(): number {
  return Number(process.env.FAILED_BOOTS ?? 300);
}

/** As an agent does whose node stays broken, but without its pauses. */
async function failToBoot(node: ClusterNode, times: number): Promise<void> {
  const client = connect(node);
  const host = new Host(node.path('').replace(/\/$/, ''));
  const signal = AbortSignal.timeout(patient(1_700_000));
  const ignore = () => {};
  const prover = new Prover({
    ...{ client, host, handler: 'runsc', owner: 'boots', signal, onLateEnd: ignore, onOrphans: ignore },
    ...{ now: () => performance.now(), wallMs: Date.now, waitMs: patient(80_000) },
  });
  try {
    for (let boot = 0; boot < times; boot++) {
      const { kind, message } = await prover.prove(signal);
      assert.equal(kind, 'failed', message);
      await prover.finish(patient(60_000));
    }
  } finally {
    client.close();
  }
}

/** What containerd, its shims and the kernel still have, by name. */
async function remainsOf(node: ClusterNode) {
  const client = connect(node);
  try {
    const list = async (command: readonly string[]) =>
      (await node.system.run([...command])).split('\n').filter(Boolean).sort();
    const processes = await node.system.processes();
    const argumentsOf = (program: RegExp) =>
      processes.flatMap(({ argv }) => (program.test(argv[0] ?? '') ? [argv.join(' ')] : []));
    return {
      tasks: await list(['ls', '/run/containerd/io.containerd.runtime.v2.task/k8s.io']),
      runsc: await list(['sh', '-c', 'ls /run/containerd/runsc/k8s.io 2>/dev/null || :']),
      containers: await list(['ctr', '--namespace=k8s.io', 'containers', 'list', '--quiet']),
      sandboxes: (await client.listSandboxes('all')).filter(isProbe).map(({ id }) => id),
      shims: argumentsOf(/containerd-shim-runsc/),
      sentries: argumentsOf(/^(?:\S*\/)?runsc/),
      cgroups: cgroupsOfProbes(node),
    };
  } finally {
    client.close();
  }
}
