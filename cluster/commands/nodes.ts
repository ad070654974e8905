import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CLUSTERS } from '../../hack/paths.ts';
import { ensurePrerequisites } from '../../hack/prerequisites.ts';
import { UsageError } from '../../hack/run.ts';
import { CONTROL_PLANE } from '../control-plane/control-plane.ts';
import { requireContainerd } from '../faults/repair.ts';
import { ensureImage } from '../images.ts';
import { locked } from '../lock.ts';
import { requireName, requireRoot } from '../machine/host-checks.ts';
import { unknownWord } from '../nearest.ts';
import { readNodes } from '../node/plan.ts';
import type { NodeDaemon } from '../node/system.ts';
import { type Command, npm, openRunning } from './command.ts';
import { NODE_OPTIONS, nodeChoices } from './up.ts';

const ACTIONS = ['add', 'remove'];
const DAEMONS = ['containerd', 'kubelet'] as const;

/** `node`: adds or removes one. */
export const node: Command = {
  args: ['add|remove', 'NAME'],
  flags: '[--containerd 2|1.7] [--gvisor current|2025|2026-09|2026-09-bare|none] [--machine vm]',
  does: 'adds or removes a node',
  options: NODE_OPTIONS,
  run: async ({ name, args: [action = '', node = ''], values }) => {
    if (!ACTIONS.includes(action)) throw unknownWord('action on nodes', action, ACTIONS);
    const request = { name: node, ...nodeChoices(values) };
    const cluster = await openRunning(name);
    const begun = Date.now();
    await locked(name, async () => {
      if (action === 'remove') return cluster.removeNode(node);
      if (request.machine === 'vm') await ensurePrerequisites({ forVms: true });
      await cluster.addNode(request, [await ensureImage('workload')]);
      await cluster.waitForNodes([node]);
    });
    const seconds = ((Date.now() - begun) / 1000).toFixed(1);
    console.log(`${node} is ${action === 'add' ? 'Ready' : 'gone'}, ${seconds} s.`);
    return undefined;
  },
};

/** `restart`: a daemon of a node. */
export const restart: Command = {
  args: ['NODE', 'containerd|kubelet'],
  does: 'restarts containerd or the kubelet of a node',
  run: async ({ name, args: [node = '', word = ''] }) => {
    const daemon = DAEMONS.find((one) => one === word);
    if (daemon === undefined) throw unknownWord('daemon of a node', word, DAEMONS);
    const cluster = await openRunning(name);
    const restarted = cluster.node(node);
    await locked(name, () => restarted.restart(daemon));
    console.log(`${daemon} on ${node} has been restarted.`);
    return undefined;
  },
};

/** `load`: builds the project's images and puts them on every node. */
export const load: Command = {
  does: 'builds the images pause, workload and agent, and loads them into all nodes',
  run: async ({ name }) => {
    const cluster = await openRunning(name);
    await locked(name, async () => {
      for (const node of cluster.nodes()) await requireContainerd(node);
      for (const id of ['pause', 'workload', 'agent'] as const) {
        const image = await ensureImage(id);
        await Promise.all(cluster.nodes().map((node) => node.load(image)));
        console.log(`${image.name} is on every node.`);
      }
    });
    return undefined;
  },
};

/** `logs`: what a daemon said. */
export const logs: Command = {
  args: ['NODE', '[DAEMON]'],
  flags: '[-f]',
  does: "prints the log of a node's containerd, kubelet or init, or (NODE control-plane) of its daemons",
  options: { follow: { type: 'boolean', short: 'f' } },
  run: async ({ name, args: [node = '', word], values }) => {
    requireName(name);
    requireRoot();
    const dir = join(CLUSTERS, name);
    if (!existsSync(dir))
      throw new UsageError(`There is no cluster "${name}": start it with \`${npm(name, 'up')}\`.`);
    const names = readNodes(dir).map((spec) => spec.name);
    const hub = node === 'control-plane';
    if (!hub && !names.includes(node)) throw unknownWord('node', node, [...names, 'control-plane']);
    const daemons: readonly string[] = [...(hub ? CONTROL_PLANE : DAEMONS), 'init'];
    const daemon = word ?? (hub ? 'kube-apiserver' : 'containerd');
    if (!daemons.includes(daemon)) throw unknownWord(`log of ${node}`, daemon, daemons);
    const [command, ...rest] = await logCommand(name, { node, daemon, follow: Boolean(values.follow) });
    const [code] = await once(spawn(command, rest, { stdio: 'inherit' }), 'close');
    return code ?? 0;
  },
};

type LogQuestion = { readonly node: string; readonly daemon: string; readonly follow: boolean };

/** The command that prints a log: files stay when a machine has ended, the journal of a virtual machine does not. */
async function logCommand(
  name: string,
  { node, daemon, follow }: LogQuestion,
): Promise<readonly [string, ...string[]]> {
  const dir = join(CLUSTERS, name);
  if (readNodes(dir).find((spec) => spec.name === node)?.machine === 'vm') {
    const { system } = (await openRunning(name)).node(node);
    return system.logCommand(daemon as NodeDaemon | 'init', follow);
  }
  const file = join(dir, node === 'control-plane' ? 'hub' : join('nodes', node), `${daemon}.log`);
  return ['tail', '-n', '+1', ...(follow ? ['-F'] : []), file];
}
