import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../../hack/run.ts';
import { CLUSTERS } from '../clusters.ts';
import { CONTROL_PLANE, controlPlaneOf } from '../control-plane/control-plane.ts';
import { requireRoot } from '../machine/host-checks.ts';
import { readNodes } from '../node/plan.ts';
import { DAEMONS, type NodeDaemon } from '../node/system.ts';
import { nameOf, npm, openRunning } from './command.ts';

export function addLogs(program: Command): void {
  program
    .command('logs')
    .description("print the log of a node's daemon, of its init, or of one of the control plane's")
    .argument('<node>', 'a node, or control-plane')
    .argument('[daemon]')
    .option('-f, --follow', 'go on as the log grows')
    .action(async (node: string, word: string | undefined, { follow = false }: Follow, command: Command) => {
      const name = nameOf(command);
      requireRoot();
      const dir = join(CLUSTERS, name);
      if (!existsSync(dir))
        throw new UsageError(`There is no cluster "${name}": start it with \`${npm(name, 'up')}\`.`);
      const nodes = [...readNodes(dir).map((spec) => spec.name), 'control-plane'];
      requireOneOf('node', node, nodes);
      const daemons: readonly string[] = [...(node === 'control-plane' ? CONTROL_PLANE : DAEMONS), 'init'];
      const daemon = word ?? (node === 'control-plane' ? 'kube-apiserver' : 'containerd');
      requireOneOf(`log of ${node}`, daemon, daemons);
      const [program, ...args] = await logCommand(name, { node, daemon, follow });
      const [code] = await once(spawn(program, args, { stdio: 'inherit' }), 'close');
      process.exitCode = code ?? 0;
    });
}

type Follow = { readonly follow?: boolean };
type LogQuestion = { readonly node: string; readonly daemon: string; readonly follow: boolean };

/** Log files outlive a machine; the journal of a virtual machine does not. */
async function logCommand(
  name: string,
  { node, daemon, follow }: LogQuestion,
): Promise<readonly [string, ...string[]]> {
  const dir = join(CLUSTERS, name);
  if (readNodes(dir).find((spec) => spec.name === node)?.machine === 'vm') {
    const { system } = (await openRunning(name)).node(node);
    return system.logCommand(daemon as NodeDaemon | 'init', follow);
  }
  const directory = node === 'control-plane' ? controlPlaneOf(dir).dir : join(dir, 'nodes', node);
  return ['tail', '-n', '+1', ...(follow ? ['-F'] : []), join(directory, `${daemon}.log`)];
}

function requireOneOf(kind: string, word: string, known: readonly string[]): void {
  if (known.includes(word)) return;
  throw new UsageError(`There is no ${kind} "${word}". There is: ${known.join(', ')}.`);
}
