import { Argument, type Command, Option } from 'commander';
import { requireContainerd } from '../faults/repair.ts';
import { locked } from '../plan/lock.ts';
import type { NodeRequest } from '../plan/nodes.ts';
import { ensureImage, imageName } from '../tools/images.ts';
import { ensurePrerequisites, purposesOf } from '../tools/prerequisites.ts';
import { openRunning } from './command.ts';
import { CHOICES } from './up.ts';

export function addNode(program: Command): void {
  program
    .command('node')
    .description('add or remove a node')
    .addArgument(new Argument('<action>').choices(['add', 'remove']))
    .argument('<node>')
    .addOption(new Option('--containerd <version>').choices(CHOICES.containerd))
    .addOption(new Option('--gvisor <release>').choices(CHOICES.gvisor))
    .addOption(new Option('--machine <kind>').choices(CHOICES.machine))
    .addOption(new Option('--arch <architecture>', 'of an emulated machine').choices(CHOICES.arch))
    .action(async (action: string, node: string, request: Omit<NodeRequest, 'name'>, command: Command) => {
      const cluster = await openRunning(command);
      const begun = Date.now();
      await locked(cluster.name, async () => {
        if (action === 'remove') return cluster.removeNode(node);
        await ensurePrerequisites(...purposesOf(request));
        await cluster.addNode({ ...request, name: node }, [await ensureImage('workload', request.arch)]);
        await cluster.waitForNodes([node]);
      });
      const seconds = ((Date.now() - begun) / 1000).toFixed(1);
      console.log(`${node} is ${action === 'add' ? 'Ready' : 'gone'}, ${seconds} s.`);
    });
}

export function addLoad(program: Command): void {
  program
    .command('load')
    .description('build the images pause, workload and agent, and load them into all nodes')
    .action(async (_options: object, command: Command) => {
      const cluster = await openRunning(command);
      await locked(cluster.name, async () => {
        for (const node of cluster.nodes()) await requireContainerd(node);
        const byArch = Map.groupBy(cluster.nodes(), ({ spec }) => spec.arch);
        for (const id of ['pause', 'workload', 'agent'] as const) {
          for (const [arch, nodes] of byArch) {
            const image = await ensureImage(id, arch);
            await Promise.all(nodes.map((node) => node.load(image)));
          }
          console.log(`${imageName(id)} is on every node.`);
        }
      });
    });
}
