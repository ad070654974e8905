import { Argument, type Command } from 'commander';
import { formatTable } from '../../hack/table.ts';
import { breakNode, faultsOf, healNode } from '../faults/break-node.ts';
import { FAULT_TEXTS, type FaultName } from '../faults/fault-texts.ts';
import { locked } from '../plan/lock.ts';
import { npm, openRunning } from './command.ts';

const NAMES = Object.keys(FAULT_TEXTS);

export function addFaults(program: Command): void {
  program
    .command('faults')
    .description('list the faults: what each does, and its symptoms')
    .action(() => {
      const rows = Object.entries(FAULT_TEXTS).map(([name, fault]) => [name, fault.does, fault.seen]);
      console.log(formatTable([['FAULT', 'WHAT IT DOES', 'WHAT IS SEEN'], ...rows]));
    });
}

export function addBreak(program: Command): void {
  program
    .command('break')
    .description('break a node in one of the ways that `faults` lists')
    .argument('<node>')
    .addArgument(new Argument('<fault>').choices(NAMES))
    .action(async (node: string, fault: FaultName, _options: object, command: Command) => {
      const cluster = await openRunning(command);
      const broken = cluster.node(node);
      await locked(cluster.name, () => breakNode(cluster, broken, fault));
      const heal = npm(cluster.name, `heal ${node}`);
      console.log(`${node}: ${fault} (${FAULT_TEXTS[fault].does}). Undo it with \`${heal}\`.`);
    });
}

export function addHeal(program: Command): void {
  program
    .command('heal')
    .description('undo a fault, or bring the whole node into its good state')
    .argument('<node>')
    .addArgument(new Argument('[fault]').choices(NAMES))
    .action(async (node: string, fault: FaultName | undefined, _options: object, command: Command) => {
      const cluster = await openRunning(command);
      const healed = cluster.node(node);
      await locked(cluster.name, () => healNode(cluster, healed, fault));
      const left = await faultsOf(healed, cluster);
      console.log(
        `${node}: ${left.length === 0 ? 'no fault in force' : `still in force: ${left.join(', ')}`}.`,
      );
    });
}
