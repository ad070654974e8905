import { UsageError } from '../../hack/run.ts';
import type { Cluster } from '../cluster.ts';
import { CONTAINERD_CONFIG, containerdConfig, gvisorTable, RUNTIME_TABLE } from '../node/config.ts';
import type { ClusterNode, NodeGvisor } from '../node/node.ts';
import { ensureImage } from '../tools/images.ts';
import type { FaultName } from './fault-texts.ts';
import { stopInPods } from './hung-sandboxes.ts';
import { type Part, REPAIRS, type Repair, requireContainerd } from './repair.ts';

/** `apply` is idempotent; the repair of the part undoes exactly what it did. */
export type Fault = {
  /** A new fault of a part replaces the previous one. */
  readonly part: Part;
  readonly apply: Repair;
  /** Set for a fault that can end without `heal`. */
  readonly holds?: Holds | undefined;
};

type Holds = (node: ClusterNode, cluster: Cluster) => Promise<boolean>;

const GVISOR_PARTS: readonly Part[] = ['shim', 'runsc', 'handler', 'runsc-config', 'sandboxes'];

export const FAULTS = {
  'shim-missing': fault('shim', async (node) => node.remove((await gvisorOf(node)).shim)),
  'runsc-missing': fault('runsc', async (node) => node.remove((await gvisorOf(node)).runsc)),
  'runsc-not-executable': fault('runsc', async (node) => {
    const gvisor = await gvisorOf(node);
    await node.installProgram(gvisor, 'runsc');
    await node.system.run(['chmod', '644', gvisor.runsc]);
  }),
  'runsc-cannot-boot': fault('runsc', (node) =>
    pretend(node, 'echo "this program cannot boot a sandbox" >&2; exit 128'),
  ),
  'runsc-hangs': fault('runsc', (node) => pretend(node, 'while :; do sleep 1; done')),
  'handler-removed': fault('handler', (node) => configure(node, containerdConfig(node.spec, ''))),
  'handler-edited': fault('handler', async (node) => {
    await REPAIRS.handler(node); // the loaded configuration stays right
    await node.write(CONTAINERD_CONFIG, containerdConfig(node.spec, ''));
  }),
  'handler-wrong-table': fault('handler', (node) => {
    const other = node.spec.containerd === '2' ? '1.7' : '2';
    return configure(node, containerdConfig(node.spec, gvisorTable(node.spec, RUNTIME_TABLE[other])));
  }),
  'handler-runs-runc': fault('handler', (node) => {
    const table = RUNTIME_TABLE[node.spec.containerd];
    const handler = `\n[${table}.containerd.runtimes.runsc]\n  runtime_type = "io.containerd.runc.v2"\n`;
    return configure(node, containerdConfig(node.spec, handler));
  }),
  'config-missing': fault('runsc-config', async (node) => node.remove((await gvisorOf(node)).config.file)),
  'config-not-toml': fault('runsc-config', async (node) =>
    node.write((await gvisorOf(node)).config.file, 'platform: systrap\n'),
  ),
  'containerd-stopped': stopped('containerd'),
  'containerd-hung': fault(
    'containerd',
    async (node) => {
      await node.startContainerd();
      await node.system.signalDaemon('containerd', 'STOP');
    },
    async (node) => (await node.system.daemonState('containerd')) === 'T',
  ),
  'shims-hung': fault('sandboxes', (node) => stopInPods(node, 'shim')),
  'sentries-hung': fault('sandboxes', (node) => stopInPods(node, 'sentry')),
  'pause-image-missing': fault('pause-image', async (node) => {
    await requireContainerd(node);
    await node.unload(await ensureImage('pause', node.spec.arch));
  }),
  'kubelet-stopped': stopped('kubelet'),
  'api-down': fault(
    'api',
    (_node, cluster) => cluster.controlPlane.stopDaemon('kube-apiserver', 'KILL'),
    async (_node, cluster) => cluster.controlPlane.daemonPid('kube-apiserver') === undefined,
  ),
  'agent-killed': fault(
    'agent',
    async (node) => {
      if ((await node.killWhere((argv) => argv.includes('/app/agent.cjs'))) > 0) return;
      throw new UsageError(
        `No agent runs on ${node.name}: install it with \`kubectl apply -k manifests/base\`.`,
      );
    },
    async () => false,
  ),
} as const satisfies Record<FaultName, Fault>;

function fault(part: Part, apply: Repair, holds?: Holds): Fault {
  if (!GVISOR_PARTS.includes(part)) return { part, apply, holds };
  const applyToGvisor: Repair = async (node, cluster) => {
    await gvisorOf(node);
    await apply(node, cluster);
  };
  return { part, apply: applyToGvisor, holds };
}

function stopped(daemon: 'containerd' | 'kubelet'): Fault {
  return fault(
    daemon,
    (node) => node.system.stopDaemon(daemon),
    async (node) => (await node.system.daemonState(daemon)) === undefined,
  );
}

async function gvisorOf(node: ClusterNode): Promise<NodeGvisor> {
  const gvisor = await node.gvisor();
  if (gvisor !== undefined) return gvisor;
  throw new UsageError(`${node.name} has no gVisor that could break: choose another node.`);
}

async function configure(node: ClusterNode, config: string): Promise<void> {
  await requireContainerd(node);
  await node.write(CONTAINERD_CONFIG, config);
  if (!(await node.hasLoadedConfig())) await node.restart('containerd');
}

/** The script prints the same version, and runs `body` otherwise. */
async function pretend(node: ClusterNode, body: string): Promise<void> {
  await REPAIRS.runsc(node);
  const { runsc } = await gvisorOf(node);
  const version = (await node.system.run([runsc, '--version'])).trim();
  const answer = `printf '%s\\n' '${version.replaceAll("'", '')}'; exit 0`;
  await node.write(runsc, `#!/bin/sh\ncase " $* " in *" --version "*) ${answer} ;; esac\n${body}\n`, 0o755);
}
