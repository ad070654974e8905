import { UsageError } from '../../hack/run.ts';
import type { Cluster } from '../cluster.ts';
import { ensureImage } from '../images.ts';
import { CONTAINERD_CONFIG, containerdConfig, handlerTable, RUNTIME_TABLE } from '../node/config.ts';
import type { ClusterNode, NodeGvisor } from '../node/node.ts';
import { stopInPods } from './hung-sandboxes.ts';
import { type Part, REPAIRS, type Repair, requireContainerd } from './repair.ts';

/** `apply` is idempotent; the repair of the part undoes exactly what it did. */
export type Fault = {
  readonly does: string;
  /** The symptom, for a person who does not know of the fault. */
  readonly seen: string;
  /** A new fault of a part replaces the previous one. */
  readonly part: Part;
  readonly apply: Repair;
  /** Set for a fault that can end without `heal`. */
  readonly holds?: (node: ClusterNode, cluster: Cluster) => Promise<boolean>;
};

export const FAULTS = {
  'shim-missing': fault('shim', {
    does: 'removes containerd-shim-runsc-v1',
    seen: 'gVisor pods stay in ContainerCreating: failed to start shim',
    apply: async (node) => node.remove((await gvisorOf(node)).shim),
  }),
  'runsc-missing': fault('runsc', {
    does: 'removes runsc',
    seen: 'gVisor pods stay in ContainerCreating: "runsc": executable file not found in $PATH',
    apply: async (node) => node.remove((await gvisorOf(node)).runsc),
  }),
  'runsc-not-executable': fault('runsc', {
    does: 'takes the x bits off runsc',
    seen: 'gVisor pods stay in ContainerCreating: executable file not found in $PATH, though it is there',
    apply: async (node) => {
      const gvisor = await gvisorOf(node);
      await node.installProgram(gvisor, 'runsc');
      await node.system.run(['chmod', '644', gvisor.runsc]);
    },
  }),
  'runsc-cannot-boot': fault('runsc', {
    does: 'replaces runsc with a program that prints a version and fails at everything else',
    seen: 'gVisor pods stay in ContainerCreating: OCI runtime create failed; every file looks right',
    apply: (node) => pretend(node, 'echo "this program cannot boot a sandbox" >&2; exit 128'),
  }),
  'runsc-hangs': fault('runsc', {
    does: 'replaces runsc with a program that prints a version and hangs at everything else',
    seen: 'gVisor pods stay in ContainerCreating without an error for minutes',
    apply: (node) => pretend(node, 'while :; do sleep 1; done'),
  }),
  'handler-removed': fault('handler', {
    does: "removes the handler from containerd's configuration and restarts containerd",
    seen: 'gVisor pods stay in ContainerCreating: no runtime for "runsc" is configured',
    apply: (node) => configure(node, containerdConfig(node.spec, '')),
  }),
  'handler-edited': fault('handler', {
    does: "removes the handler from containerd's configuration and does not restart containerd",
    seen: 'nothing, until the next restart of containerd breaks every gVisor pod',
    apply: async (node) => {
      await REPAIRS.handler(node); // the loaded configuration stays right
      await node.write(CONTAINERD_CONFIG, containerdConfig(node.spec, ''));
    },
  }),
  'handler-wrong-table': fault('handler', {
    does: 'moves the handler into the table that another version of the configuration reads, and restarts containerd',
    seen: 'the handler is in the file, but no runtime for "runsc" is configured',
    apply: (node) => {
      const other = node.spec.containerd === '2' ? '1.7' : '2';
      return configure(node, containerdConfig(node.spec, handlerTable(node.spec, RUNTIME_TABLE[other])));
    },
  }),
  'handler-runs-runc': fault('handler', {
    does: 'makes the handler named runsc run runc, and restarts containerd',
    seen: 'gVisor pods run, on the kernel of the host',
    apply: (node) => {
      const table = RUNTIME_TABLE[node.spec.containerd];
      const handler = `\n[${table}.containerd.runtimes.runsc]\n  runtime_type = "io.containerd.runc.v2"\n`;
      return configure(node, containerdConfig(node.spec, handler));
    },
  }),
  'config-missing': fault('runsc-config', {
    does: "removes the file that the handler's ConfigPath names",
    seen: 'gVisor pods stay in ContainerCreating: decode config file … no such file or directory',
    apply: async (node) => node.remove((await gvisorOf(node)).config.file),
  }),
  'config-not-toml': fault('runsc-config', {
    does: "makes the file that the handler's ConfigPath names something else than TOML",
    seen: 'gVisor pods stay in ContainerCreating: decode config file … toml: line 1',
    apply: async (node) => node.write((await gvisorOf(node)).config.file, 'platform: systrap\n'),
  }),
  'containerd-stopped': fault('containerd', {
    does: 'ends containerd',
    seen: 'running pods go on; the node becomes NotReady within a minute',
    apply: (node) => node.system.stopDaemon('containerd'),
    holds: async (node) => (await node.system.daemonState('containerd')) === undefined,
  }),
  'containerd-hung': fault('containerd', {
    does: 'stops containerd in its tracks (SIGSTOP): its socket accepts and never answers',
    seen: 'running pods go on; new ones wait; the node becomes NotReady after minutes',
    apply: async (node) => {
      await node.startContainerd();
      await node.system.signalDaemon('containerd', 'STOP');
    },
    holds: async (node) => (await node.system.daemonState('containerd')) === 'T',
  }),
  'shims-hung': fault('sandboxes', {
    does: 'stops the shims of the gVisor pods that run on the node (SIGSTOP)',
    seen: 'nothing, until containerd restarts: it waits 10 s for each shim, and loses its pod',
    apply: (node) => stopInPods(node, 'shim'),
  }),
  'sentries-hung': fault('sandboxes', {
    does: 'stops the sentries of the gVisor pods that run on the node (SIGSTOP)',
    seen: 'the pods stand still and may stay in Terminating; containerd 1.7 does not come back from a restart',
    apply: (node) => stopInPods(node, 'sentry'),
  }),
  'pause-image-missing': fault('pause-image', {
    does: 'removes the sandbox image, which can be pulled from nowhere',
    seen: 'no new pod starts, with gVisor or without: failed to pull image of the sandbox',
    apply: async (node) => {
      await requireContainerd(node);
      await node.unload(await ensureImage('pause'));
    },
  }),
  'kubelet-stopped': fault('kubelet', {
    does: 'ends the kubelet',
    seen: 'running pods go on; the node becomes NotReady after 40 s',
    apply: (node) => node.system.stopDaemon('kubelet'),
    holds: async (node) => (await node.system.daemonState('kubelet')) === undefined,
  }),
  'api-down': fault('api', {
    does: 'kills the API server of the whole cluster',
    seen: 'kubectl is refused; running pods go on',
    apply: (_node, cluster) => cluster.controlPlane.stopDaemon('kube-apiserver', 'KILL'),
    holds: async (_node, cluster) => cluster.controlPlane.daemonPid('kube-apiserver') === undefined,
  }),
  'agent-killed': fault('agent', {
    does: 'kills the agent of the node (-9), which the kubelet starts again',
    seen: 'one more restart of the agent',
    apply: async (node) => {
      if ((await node.killWhere((argv) => argv.includes('/app/agent.cjs'))) > 0) return;
      throw new UsageError(
        `No agent runs on ${node.name}: install it with \`kubectl apply -k manifests/base\`.`,
      );
    },
    holds: async () => false,
  }),
} as const satisfies Record<string, Fault>;

export type FaultName = keyof typeof FAULTS;

const GVISOR_PARTS: readonly Part[] = ['shim', 'runsc', 'handler', 'runsc-config', 'sandboxes'];

function fault(part: Part, { apply, ...rest }: Omit<Fault, 'part'>): Fault {
  return {
    ...rest,
    part,
    apply: async (node, cluster) => {
      if (GVISOR_PARTS.includes(part)) await gvisorOf(node);
      await apply(node, cluster);
    },
  };
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
