import { formatTable } from '../../hack/table.ts';
import { breakNode, faultsOf, healNode } from '../faults/break-node.ts';
import { FAULTS, type FaultName } from '../faults/faults.ts';
import { locked } from '../lock.ts';
import { unknownWord } from '../nearest.ts';
import { type Command, npm, openRunning } from './command.ts';

/** `faults`: what can be broken. */
export const faults: Command = {
  does: 'lists the faults: what each does, and what somebody would see',
  run: () => {
    const rows = Object.entries(FAULTS).map(([name, fault]) => [name, fault.does, fault.seen]);
    console.log(formatTable([['FAULT', 'WHAT IT DOES', 'WHAT IS SEEN'], ...rows]));
    return undefined;
  },
};

/** `break`: brings a fault onto a node. */
export const breakCommand: Command = {
  args: ['NODE', 'FAULT'],
  does: 'breaks a node in one of the ways that `faults` lists',
  run: async ({ name, args: [node = '', fault = ''] }) => {
    const known = faultName(fault);
    const cluster = await openRunning(name);
    const broken = cluster.node(node);
    await locked(name, () => breakNode(cluster, broken, known));
    console.log(`${node}: ${known} (${FAULTS[known].does}). Undo it with \`${npm(name, `heal ${node}`)}\`.`);
    return undefined;
  },
};

/** `heal`: undoes one fault or all. */
export const heal: Command = {
  args: ['NODE', '[FAULT]'],
  does: 'undoes a fault, or brings the whole node into its good state',
  run: async ({ name, args: [node = '', fault] }) => {
    const known = fault === undefined ? undefined : faultName(fault);
    const cluster = await openRunning(name);
    const healed = cluster.node(node);
    await locked(name, () => healNode(cluster, healed, known));
    const left = await faultsOf(healed, cluster);
    console.log(
      `${node}: ${left.length === 0 ? 'no fault in force' : `still in force: ${left.join(', ')}`}.`,
    );
    return undefined;
  },
};

function faultName(word: string): FaultName {
  if (Object.hasOwn(FAULTS, word)) return word as FaultName;
  throw unknownWord('fault', word, Object.keys(FAULTS));
}
