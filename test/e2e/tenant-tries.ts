import { PROBE_LABELS } from '../../agent/proof/sandbox-config.ts';
import { imageName } from '../../cluster/images.ts';

/** One try of a tenant to shape what the agent says of the node, or to run code outside of its pod. */
export type Try = {
  readonly what: string;
  /** What the agent of 25 November 2026 did in this case; "held" where it withstood. */
  readonly before: string;
  /** Pods of the tenant: what differs from a plain pod whose container runs a script of sh as root. */
  readonly pods: readonly TryPod[];
};

/**
 * A pod of a try, with the agent's address as $AGENT. `script` runs in sh and goes on for ever; without it the container
 * keeps its image's command.
 */
export type TryPod = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly container?: object;
  readonly gvisor?: boolean;
  readonly script?: string;
  /** Its container is meant to end, and to be started again. */
  readonly ends?: boolean;
};

const FOREVER = 'while :; do sleep 1000; done';
/** Runs a copy of the shell under another name, with these arguments behind it, and stays. */
const as = (name: string, args = '') =>
  `mkdir -p /tmp/x; cp /bin/sh "/tmp/x/${name}"; cd /tmp/x; PATH=.:$PATH; "${name}" -c '${FOREVER}' ${args}`;
/** Programs of the tenant's own under the names of gVisor's: they say that they ran. */
const EVIL =
  "mkdir -p /evil; for name in runsc containerd-shim-runsc-v1; do printf '#!/bin/sh\\necho runsc version pwned-uid0\\n' >/evil/$name; chmod 755 /evil/$name; done";
// biome-ignore-start lint/suspicious/noTemplateCurlyInString: the shell's, not ours
/** Where the host sees the root file system of this very container, by the id in its cgroup. */
const OWN_ROOT =
  'read -r LINE </proc/self/cgroup; ROOT=/run/containerd/io.containerd.runtime.v2.task/k8s.io/${LINE##*/}/rootfs';
// biome-ignore-end lint/suspicious/noTemplateCurlyInString: the shell's, not ours

/** Floods the agent's port from the tenant's own Node. */
const FLOOD = `
const text = 'GET / HTTP/1.1\\r\\nhost: agent\\r\\n\\r\\n'.repeat(50);
const go = () => {
  const socket = require('net').connect(9477, process.env.AGENT);
  const more = () => { while (socket.write(text)); };
  socket.on('connect', more).on('drain', more).on('data', () => {}).on('error', () => {});
  socket.on('close', () => setImmediate(go));
};
for (let n = 0; n < 300; n++) go();
`;

const script = (text: string): TryPod => ({ script: text });

/** The tries of a tenant with every right in a namespace at Pod Security "baseline". */
export const TRIES: readonly Try[] = [
  {
    what: 'a process named containerd',
    before: 'counted as containerd',
    pods: [script(as('containerd'))],
  },
  {
    what: 'a containerd whose PATH leads into its own root file system',
    before: 'its runsc was executed as uid 0 in the agent',
    pods: [script(`${EVIL}; ${OWN_ROOT}; export PATH=$ROOT/evil:$PATH; ${as('containerd')}`)],
  },
  {
    what: 'a containerd with a PATH of 12,000 entries',
    before: 'a look took 10 to 15 s',
    pods: [script(`LONG=$(seq -f /a/%g 1 12000 | tr '\\n' :); export PATH=$PATH:$LONG; ${as('containerd')}`)],
  },
  {
    what: 'a containerd that names a configuration of its own',
    before: 'its file counted where it was the only one that names one',
    pods: [
      script(
        `${OWN_ROOT}; ${as('containerd', '--config $ROOT/evil.toml --address /run/containerd/containerd.sock')}`,
      ),
    ],
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
    what: "six containers named like the agent's, of an image without cat",
    before: 'three of five looks were ProbeImageUnusable',
    pods: Array.from({ length: 6 }, (_, index) => ({
      name: `unusable-${index}`,
      container: { name: 'gvisor-ready-agent', image: imageName('pause') },
    })),
  },
  {
    what: 'the labels of a probe',
    before: 'held',
    pods: [
      {
        labels: PROBE_LABELS,
        script: FOREVER,
      },
    ],
  },
  {
    what: 'the labels of a probe on twelve pods of whose annotations containerd keeps 1.5 MiB each',
    before: 'nothing was proven any more, and a minute later the label was withdrawn',
    pods: Array.from({ length: 12 }, (_, index) => ({
      name: `large-${index}`,
      labels: PROBE_LABELS,
      // containerd writes each of these as six bytes.
      annotations: { large: '<'.repeat(260_000) },
      script: FOREVER,
    })),
  },
  {
    what: 'the labels of an agent',
    before: 'held',
    pods: [
      {
        labels: { 'app.kubernetes.io/name': 'gvisor-ready', 'app.kubernetes.io/component': 'agent' },
        script: FOREVER,
      },
    ],
  },
  { what: 'the name of a probe', before: 'held', pods: [{ name: 'gvisor-probe-12345678', script: FOREVER }] },
  {
    what: 'annotations that turn flags of runsc',
    before: 'held',
    pods: [
      {
        gvisor: true,
        annotations: { 'dev.gvisor.flag.network': 'host', 'dev.gvisor.flag.debug': 'true' },
        script: FOREVER,
      },
    ],
  },
  {
    what: 'an annotation that names another cgroup for the sandbox',
    before: 'nobody looked',
    pods: [{ gvisor: true, annotations: { 'dev.gvisor.spec.cgroup-parent': '/' }, script: FOREVER }],
  },
  {
    what: "annotations of containerd's own on a pod",
    before: 'held',
    pods: [
      {
        annotations: {
          'io.kubernetes.cri.sandbox-id': 'probe',
          'io.kubernetes.cri.container-type': 'sandbox',
          'gvisor.node-restriction.kubernetes.io/ready': 'false',
        },
        script: FOREVER,
      },
    ],
  },
  {
    what: '1,500 processes',
    before: 'a look cost 1.3 s of CPU more',
    pods: [script(`i=0; while [ $i -lt 1500 ]; do sleep 1000 & i=$((i+1)); done; ${FOREVER}`)],
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
  {
    what: "FIFOs and loops of links under the names of gVisor's programs",
    before: 'a look waited where the PATH led there',
    pods: [
      script(
        `mkdir -p /opt/bin; for name in runsc containerd-shim-runsc-v1; do rm -f /usr/local/bin/$name; mkfifo /usr/local/bin/$name; ln -sf $name /opt/bin/$name; done; ${as('containerd')}`,
      ),
    ],
  },
  {
    what: "links out of its root file system to the host's secrets",
    before: 'read where the PATH led there',
    pods: [
      script(
        `mkdir -p /evil; ln -s /etc/shadow /evil/runsc; ln -s / /evil/root; ${OWN_ROOT}; export PATH=$ROOT/evil:$PATH; ${as('containerd')}`,
      ),
    ],
  },
  {
    // With the capabilities that "baseline" leaves a container, CAP_MKNOD among them. Where the device could be opened,
    // mounting it would still need CAP_SYS_ADMIN.
    what: "FUSE's device, which it can make and cannot open",
    before: 'held',
    pods: [
      {
        container: { securityContext: {} },
        script: `mknod /tmp/fuse c 10 229 || exit 1; if (: </tmp/fuse) 2>/tmp/why; then exit 1; fi; ${FOREVER}`,
      },
    ],
  },
  {
    what: 'folders of cgroups and mounts of its own',
    before: 'held',
    pods: [
      script(
        `mkdir /sys/fs/cgroup/gvisor_ready 2>/dev/null; mount -t proc proc /proc 2>/dev/null; mount -t tmpfs none /run 2>/dev/null; mkdir -p /run/containerd; : >/run/containerd/containerd.sock; ${FOREVER}`,
      ),
    ],
  },
  {
    what: 'gVisor pods that end at once, again and again',
    before: 'held',
    pods: Array.from({ length: 4 }, (_, index) => ({
      name: `brief-${index}`,
      gvisor: true,
      ends: true,
      script: 'sleep 0.2; exit 1',
    })),
  },
  {
    what: "three hundred connections that ask the agent's port for its page without waiting for an answer",
    before: 'out of memory within seconds, and again after each restart',
    pods: [{ container: { image: imageName('agent'), command: ['/usr/local/bin/node', '-e', FLOOD] } }],
  },
];
