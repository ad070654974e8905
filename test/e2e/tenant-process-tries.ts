import assert from 'node:assert/strict';
import { processesIn } from '../../cluster/machine/machine.ts';
import { as, FOREVER, script, type Try } from './tenant-try.ts';

/** A process of a tenant: its name as sh reads it, arguments, what sh does first, and the name that a reader of /proc sees. */
type Process = Pick<Try, 'what' | 'before'> & {
  readonly name: string;
  readonly args?: string;
  readonly first?: string;
  readonly seen?: string;
};

const PROCESSES: readonly Process[] = [
  { what: 'a process named containerd', before: 'counted as containerd', name: 'containerd' },
  {
    what: 'a containerd with a PATH of 12,000 entries',
    before: 'a look took 10 to 15 s',
    name: 'containerd',
    first: `LONG=$(seq -f /a/%g 1 12000 | tr '\\n' :); export PATH=$PATH:$LONG`,
  },
  { what: 'a process named kubelet', before: 'counted as the kubelet', name: 'kubelet' },
  { what: 'a process named k3s-server', before: 'counted as the kubelet', name: 'k3s-server' },
  {
    what: 'a process that looks like a weakened sentry',
    before: 'held',
    name: 'runsc-sandbox',
    args: '--network=host --host-uds=all boot',
  },
  {
    what: 'a process that looks like the prewarmer',
    before: 'held',
    name: 'gvisor-sentry-prewarmer',
    args: '/evil/runsc runsc-sandbox --network=host boot',
  },
  {
    what: "a process that looks like gVisor's shim",
    before: 'held',
    name: 'containerd-shim-runsc-v1',
    args: '-namespace k8s.io -id probe',
  },
  {
    what: 'arguments of 120,000 bytes',
    before: 'held',
    name: 'runsc-sandbox',
    args: '$(head -c 120000 /dev/zero | tr "\\0" A)',
  },
  {
    what: 'an environment of 120,000 bytes',
    before: 'read as a PATH where it named one',
    name: 'containerd',
    first: `export FILL=$(head -c 120000 /dev/zero | tr '\\0' A)`,
  },
  {
    what: 'a title with terminal control sequences',
    before: 'held',
    name: '$(printf "\\033[2J\\033[31mrunsc-sandbox")',
    seen: '\u001b[2J\u001b[31mrunsc-sandbox',
  },
  {
    what: 'a title of several lines that looks like metrics',
    before: 'held',
    name: '$(printf "containerd\\ngvisor_node_status{status=\\"True\\"} 0")',
    seen: 'containerd\ngvisor_node_status{status="True"} 0',
  },
  {
    what: 'a title with HTML',
    before: 'held',
    name: '<b>runsc-sandbox<b onload=alert(1)>',
  },
];

/** The tries whose processes look like those of a node, or have words that others may print. */
export const PROCESS_TRIES: readonly Try[] = PROCESSES.map(
  ({ what, before, name, args, first = ':', seen = name }) => ({
    what,
    before,
    pods: [script(`${first}; ${as(name, args)}`)],
    took: async ({ node }) =>
      assert.ok(
        processesIn(node.machine).some(({ argv }) => argv[0] === seen && argv[2] === FOREVER),
        `no process of the node is called ${JSON.stringify(seen)}`,
      ),
  }),
);
