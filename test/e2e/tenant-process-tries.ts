import { as, script, type Try } from './tenant-try.ts';

/** The tries whose processes look like those of a node, or have words that others may print. */
export const PROCESS_TRIES: readonly Try[] = [
  {
    what: 'a process named containerd',
    before: 'counted as containerd',
    pods: [script(as('containerd'))],
  },
  {
    what: 'a containerd with a PATH of 12,000 entries',
    before: 'a look took 10 to 15 s',
    pods: [script(`LONG=$(seq -f /a/%g 1 12000 | tr '\\n' :); export PATH=$PATH:$LONG; ${as('containerd')}`)],
  },
  { what: 'a process named kubelet', before: 'counted as the kubelet', pods: [script(as('kubelet'))] },
  { what: 'a process named k3s-server', before: 'counted as the kubelet', pods: [script(as('k3s-server'))] },
  {
    what: 'a process that looks like a weakened sentry',
    before: 'held',
    pods: [script(as('runsc-sandbox', '--network=host --host-uds=all boot'))],
  },
  {
    what: 'a process that looks like the prewarmer',
    before: 'held',
    pods: [script(as('gvisor-sentry-prewarmer', '/evil/runsc runsc-sandbox --network=host boot'))],
  },
  {
    what: "a process that looks like gVisor's shim",
    before: 'held',
    pods: [script(as('containerd-shim-runsc-v1', '-namespace k8s.io -id probe'))],
  },
  {
    what: 'arguments of 120,000 bytes',
    before: 'held',
    pods: [script(as('runsc-sandbox', '$(head -c 120000 /dev/zero | tr "\\0" A)'))],
  },
  {
    what: 'an environment of 120,000 bytes',
    before: 'read as a PATH where it named one',
    pods: [script(`export FILL=$(head -c 120000 /dev/zero | tr '\\0' A); ${as('containerd')}`)],
  },
  {
    what: 'a title with terminal control sequences',
    before: 'held',
    pods: [script(as('$(printf "\\033[2J\\033[31mrunsc-sandbox")'))],
  },
  {
    what: 'a title of several lines that looks like metrics',
    before: 'held',
    pods: [script(as('$(printf "containerd\\ngvisor_node_status{status=\\"True\\"} 0")'))],
  },
  { what: 'a title with HTML', before: 'held', pods: [script(as('<b>runsc-sandbox<b onload=alert(1)>'))] },
];
