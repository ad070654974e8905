import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../../hack/run.ts';
import { CLUSTERS } from '../clusters.ts';
import { CONTROL_PLANE, controlPlaneOf } from '../control-plane/control-plane.ts';
import { requireRoot } from '../machine/host-checks.ts';
import { readNodes } from '../node/plan.ts';
import { DAEMONS } from '../node/system.ts';
import { nameOf, npm, openRunning } from './command.ts';

export function addLogs(program: Command): void {
  program
    .command('logs')
    .description("print the log of a node's daemon, of its init, or of one of the control plane's")
    .argument('<node>', 'a node, or control-plane')
    .argument('[daemon]')
    .action(async (node: string, word: string | undefined, _options: object, command: Command) => {
      const name = nameOf(command);
      requireRoot();
      const dir = join(CLUSTERS, name);
      if (!existsSync(dir))
        throw new UsageError(`There is no cluster "${name}": start it with \`${npm(name, 'up')}\`.`);
      const specs = readNodes(dir);
      requireOneOf('node', node, [...specs.map((spec) => spec.name), 'control-plane']);
      const isControlPlane = node === 'control-plane';
      const daemon = word ?? (isControlPlane ? 'kube-apiserver' : 'containerd');
      requireOneOf(`log of ${node}`, daemon, [...(isControlPlane ? CONTROL_PLANE : DAEMONS), 'init']);
      const isVm = specs.find((spec) => spec.name === node)?.machine === 'vm';
      if (isVm && daemon !== 'init') {
        const { system } = (await openRunning(command)).node(node);
        const journal = ['journalctl', '--no-pager', '-o', 'short-iso', '-u', daemon];
        process.stdout.write(await system.run(journal, { timeoutMs: 5 * 60_000 }));
        return;
      }
      // Files outlive a machine.
      const directory = isControlPlane ? controlPlaneOf(dir).dir : join(dir, 'nodes', node);
      process.stdout.write(await readFile(join(directory, `${isVm ? 'qemu' : daemon}.log`)));
    });
}

function requireOneOf(kind: string, word: string, known: readonly string[]): void {
  if (known.includes(word)) return;
  throw new UsageError(`There is no ${kind} "${word}". There is: ${known.join(', ')}.`);
}
