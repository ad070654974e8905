import assert from 'node:assert/strict';
import { access, constants, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PROBE_LABELS } from '../../agent/proof/sandbox.ts';
import { imageName } from '../../cluster/images.ts';
import { processesIn } from '../../cluster/machine/machine.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';

/** One try of a tenant to shape what the agent says of the node, or to run code outside of its pod. */
export type Attack = {
  readonly what: string;
  /** Pods of the tenant: what differs from a plain pod whose container runs a script of sh as root. */
  readonly pods: readonly AttackPod[];
  /** Rejects as long as the try has not taken hold; where it never does, nothing was tried. */
  readonly assertEffective?: (seen: AttackView) => Promise<void>;
};

/** What of a try can be seen from outside. */
export type AttackView = {
  /** The node that it runs on, as its root sees it. */
  readonly node: ClusterNode;
  /** The ids of the tenant's containers, */
  readonly ids: readonly string[];
  /** and what these and the execs into them have printed. */
  readonly output: string;
};

/**
 * A pod of a try, with the agent's address as $AGENT. `script` runs in sh and goes on for ever; without it the container
 * keeps its image's command.
 */
export type AttackPod = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec?: object;
  readonly container?: object;
  readonly gvisor?: boolean;
  readonly script?: string;
  /** Its container is meant to end, and to be started again. */
  readonly ends?: boolean;
  /** What the tenant runs by `kubectl exec` once the container runs, in sh, with the container's id as $1; it ends. */
  readonly exec?: string;
  /** What that reads from its standard input. */
  readonly input?: () => Promise<string>;
};

export const FOREVER = 'while :; do sleep 1000; done';

/** The capabilities that "baseline" leaves a container, for tries that need one of them. */
export const ALL_THAT_BASELINE_ALLOWS = { securityContext: {} };

/** Runs a copy of the shell under another name, with these arguments behind it, and stays. */
const as = (name: string, args = '') =>
  `mkdir -p /tmp/x; cp /bin/sh "/tmp/x/${name}"; cd /tmp/x; PATH=.:$PATH; "${name}" -c '${FOREVER}' ${args}`;

/** A pod that does nothing but this. */
const script = (text: string): AttackPod => ({ script: text });

/** Goes on beside the `kubectl exec` that began it, and after its end. */
const behind = (text: string) => `( ${text} ) </dev/null >/dev/null 2>&1 &`;

/**
 * Where the node sees the root file system of the container whose id is $1. A container of cgroup v1 reads its id in
 * /proc/self/cgroup; with cgroup v2 it has a namespace and reads nothing there, but its tenant can ask the API server.
 */
const OWN_ROOT = 'ROOT=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$1/rootfs';
/** Programs of the tenant's own under the names of gVisor's: they say that they ran. */
const EVIL =
  "mkdir -p /evil; for name in runsc containerd-shim-runsc-v1; do printf '#!/bin/sh\\necho runsc version pwned-uid0\\n' >/evil/$name; chmod 755 /evil/$name; done";
/** A configuration of the tenant's own, whose handler runs its programs. */
const EVIL_CONFIG =
  'printf \'version = 3\\n[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc]\\nruntime_type = "/evil/runsc"\\n\' >/evil/evil.toml';

/** Where a process that calls itself containerd leads below the root file system of a container of the try: a path of the node. */
async function ledTo({ node, ids }: AttackView): Promise<string> {
  const told = processesIn(node.machine).map(async ({ pid, argv }) => {
    const read = (file: string) => readFile(node.path(`/proc/${pid}/${file}`), 'utf8').catch(() => '');
    const isNamedSo = (await read('comm')).trim() === 'containerd';
    return isNamedSo ? [...argv, ...(await read('environ')).split('\0')] : [];
  });
  const words = (await Promise.all(told)).flat();
  const paths = words.flatMap((word) => /\/run\/containerd\/[^:]*\/rootfs\/evil[^:]*/.exec(word) ?? []);
  const path = paths.find((each) => ids.some((id) => each.includes(`/${id}/`)));
  assert.ok(path, 'no process that calls itself containerd leads into the root file system of the container');
  return path;
}

/** Checks that the programs of the tenant's own lie where a process that calls itself containerd leads. */
async function leadsToPrograms(seen: AttackView): Promise<void> {
  const directory = await ledTo(seen);
  for (const name of ['runsc', 'containerd-shim-runsc-v1']) {
    const file = seen.node.path(`${directory}/${name}`);
    assert.match(await readFile(file, 'utf8'), /pwned/);
    await access(file, constants.X_OK);
  }
}

/** The tries that lead from the host's paths into the root file system of the tenant's own container. */
const OWN_ROOT_ATTACKS: readonly Attack[] = [
  {
    what: 'a containerd whose PATH leads into its own root file system',
    pods: [
      {
        script: FOREVER,
        exec: `${EVIL}; ${OWN_ROOT}; export PATH=$ROOT/evil:$PATH; ${behind(as('containerd'))}`,
      },
    ],
    assertEffective: leadsToPrograms,
  },
  {
    what: 'a program that it starts by exec and only then names containerd, with that PATH',
    pods: [
      {
        script: FOREVER,
        exec: `${EVIL}; ${OWN_ROOT}; export PATH=$ROOT/evil:$PATH; ${behind(
          `sh -c 'printf containerd >/proc/$$/comm; ${FOREVER}'`,
        )}`,
      },
    ],
    assertEffective: leadsToPrograms,
  },
  {
    what: 'a containerd that names a configuration of its own',
    pods: [
      {
        script: FOREVER,
        exec: `mkdir -p /evil; ${EVIL_CONFIG}; ${OWN_ROOT}; ${behind(
          as('containerd', '--config $ROOT/evil/evil.toml --address /run/containerd/containerd.sock'),
        )}`,
      },
    ],
    assertEffective: async (seen) =>
      assert.match(await readFile(seen.node.path(await ledTo(seen)), 'utf8'), /"\/evil\/runsc"/),
  },
  {
    what: "links out of its root file system to the host's secrets",
    pods: [
      {
        script: FOREVER,
        exec: `mkdir -p /evil; ln -s /etc/shadow /evil/runsc; ln -s / /evil/root; ${OWN_ROOT}; export PATH=$ROOT/evil:$PATH; ${behind(as('containerd'))}`,
      },
    ],
    assertEffective: async (seen) =>
      assert.equal(await readlink(seen.node.path(`${await ledTo(seen)}/runsc`)), '/etc/shadow'),
  },
];

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

/** The program that tries cgroups and mounts, as base64: it needs nothing of the image that it runs in. */
async function buildTricks(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'tenant-tricks-'));
  try {
    const program = join(directory, 'tricks');
    await run('gcc', ['-static', '-o', program, join(REPO, 'test/e2e/tenant-tricks.c')]);
    return await readFile(program, 'base64');
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** What of that program takes hold wherever a user may make namespaces. */
const TRICKS = [
  'namespaces',
  'users there',
  'a mount there',
  'a socket on it',
  'its root as the programs there',
  'a mount of cgroups there',
  'a cgroup there',
  'a process in it',
];

/** The tries with what all pods of a node share: its kernel, and the agent's port. */
const SHARED_ATTACKS: readonly Attack[] = [
  {
    what: '3,000 processes',
    pods: [
      script(
        `i=0; while [ $i -lt 3000 ]; do sleep 1000 & i=$((i+1)); done; echo "processes: $i"; ${FOREVER}`,
      ),
    ],
    assertEffective: async ({ node, output }) => {
      assert.match(output, /^processes: 3000$/m);
      const pids = (await readdir(node.path('/proc'))).filter((name) => /^\d+$/.test(name));
      assert.ok(pids.length > 3000, `the node has ${pids.length} processes`);
    },
  },
  {
    what: "FIFOs and loops of links under the names of gVisor's programs",
    pods: [
      script(
        `mkdir -p /opt/bin; for name in runsc containerd-shim-runsc-v1; do rm -f /usr/local/bin/$name; mkfifo /usr/local/bin/$name; ln -sf $name /opt/bin/$name; done; ${as('containerd')}`,
      ),
    ],
  },
  {
    // With the capabilities that "baseline" leaves a container, CAP_MKNOD among them. Where the device could be opened,
    // mounting it would still need CAP_SYS_ADMIN.
    what: "FUSE's device, which it can make and cannot open",
    pods: [
      {
        container: ALL_THAT_BASELINE_ALLOWS,
        script: `mknod /tmp/fuse c 10 229 || exit 1; if (: </tmp/fuse) 2>/tmp/why; then exit 1; fi; ${FOREVER}`,
      },
    ],
  },
  {
    what: 'cgroups and mounts of its own, in namespaces of its own',
    pods: [
      {
        container: ALL_THAT_BASELINE_ALLOWS,
        script: FOREVER,
        exec: 'mkdir -p /usr/local/bin /mnt; base64 -d >/tmp/tricks; chmod 755 /tmp/tricks; /tmp/tricks',
        input: buildTricks,
      },
    ],
    assertEffective: async ({ node, ids, output }) => {
      for (const trick of TRICKS) assert.match(output, new RegExp(`^${trick}: took hold$`, 'm'), output);
      const tricked = processesIn(node.machine).find(({ argv }) => argv[0] === '/tmp/tricks');
      const read = (file: string) => readFile(node.path(`/proc/${tricked?.pid}/${file}`), 'utf8');
      assert.match(await read('cgroup'), new RegExp(`${ids[0]}[^/]*/gvisor_ready$`, 'm'));
      assert.match(await read('mountinfo'), / \/run .* tmpfs /);
    },
  },
  {
    what: "three hundred connections that ask the agent's port for its page without waiting for an answer",
    pods: [{ container: { image: imageName('agent'), command: ['/usr/local/bin/node', '-e', FLOOD] } }],
  },
];

/** A process of a tenant: its name as sh reads it, arguments, what sh does first, and the name that a reader of /proc sees. */
type Process = Pick<Attack, 'what'> & {
  readonly name: string;
  readonly args?: string;
  readonly first?: string;
  readonly seen?: string;
};

const PROCESSES: readonly Process[] = [
  { what: 'a process named containerd', name: 'containerd' },
  {
    what: 'a containerd with a PATH of 12,000 entries',
    name: 'containerd',
    first: `LONG=$(seq -f /a/%g 1 12000 | tr '\\n' :); export PATH=$PATH:$LONG`,
  },
  { what: 'a process named kubelet', name: 'kubelet' },
  { what: 'a process named k3s-server', name: 'k3s-server' },
  {
    what: 'a process that looks like a weakened sentry',
    name: 'runsc-sandbox',
    args: '--network=host --host-uds=all boot',
  },
  {
    what: 'a process that looks like the prewarmer',
    name: 'gvisor-sentry-prewarmer',
    args: '/evil/runsc runsc-sandbox --network=host boot',
  },
  {
    what: "a process that looks like gVisor's shim",
    name: 'containerd-shim-runsc-v1',
    args: '-namespace k8s.io -id probe',
  },
  {
    what: 'arguments of 120,000 bytes',
    name: 'runsc-sandbox',
    args: '$(head -c 120000 /dev/zero | tr "\\0" A)',
  },
  {
    what: 'an environment of 120,000 bytes',
    name: 'containerd',
    first: `export FILL=$(head -c 120000 /dev/zero | tr '\\0' A)`,
  },
  {
    what: 'a title with terminal control sequences',
    name: '$(printf "\\033[2J\\033[31mrunsc-sandbox")',
    seen: '\u001b[2J\u001b[31mrunsc-sandbox',
  },
  {
    what: 'a title of several lines that looks like metrics',
    name: '$(printf "containerd\\ngvisor_node_status{status=\\"True\\"} 0")',
    seen: 'containerd\ngvisor_node_status{status="True"} 0',
  },
  {
    what: 'a title with HTML',
    name: '<b>runsc-sandbox<b onload=alert(1)>',
  },
];

/** The tries whose processes look like those of a node, or have words that others may print. */
const PROCESS_ATTACKS: readonly Attack[] = PROCESSES.map(
  ({ what, name, args, first = ':', seen = name }) => ({
    what,
    pods: [script(`${first}; ${as(name, args)}`)],
    assertEffective: async ({ node }) =>
      assert.ok(
        processesIn(node.machine).some(({ argv }) => argv[0] === seen && argv[2] === FOREVER),
        `no process of the node is called ${JSON.stringify(seen)}`,
      ),
  }),
);

/** The tries by what a pod is called and what it carries. */
const POD_ATTACKS: readonly Attack[] = [
  {
    what: "six containers named like the agent's, of an image without cat",
    pods: Array.from({ length: 6 }, (_, index) => ({
      name: `unusable-${index}`,
      container: { name: 'gvisor-ready-agent', image: imageName('pause') },
    })),
  },
  {
    what: 'the labels of a probe',
    pods: [
      {
        labels: PROBE_LABELS,
        script: FOREVER,
      },
    ],
  },
  {
    what: 'the labels of a probe on twelve pods of whose annotations containerd keeps 1.5 MiB each',
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
    pods: [
      {
        labels: { 'app.kubernetes.io/name': 'gvisor-ready', 'app.kubernetes.io/component': 'agent' },
        script: FOREVER,
      },
    ],
  },
  { what: 'the name of a probe', pods: [{ name: 'gvisor-probe-12345678', script: FOREVER }] },
  {
    what: 'annotations that turn flags of runsc',
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
    pods: [{ gvisor: true, annotations: { 'dev.gvisor.spec.cgroup-parent': '/' }, script: FOREVER }],
  },
  {
    what: "annotations of containerd's own on a pod",
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
    what: 'gVisor pods that end at once, again and again',
    pods: Array.from({ length: 4 }, (_, index) => ({
      name: `brief-${index}`,
      gvisor: true,
      ends: true,
      script: 'sleep 0.2; exit 1',
    })),
  },
];

/** What an agent may read of a host, as files of the tenant's own at the same places in its pod. */
const FILES = `
set -e
mkdir -p /etc/containerd /run/containerd /usr/local/bin/gvisor-bin
printf 'version = 3\\n' >/etc/containerd/config.toml
printf '[runsc_config]\\n  network = "host"\\n' >/etc/containerd/runsc.toml
mkfifo /run/containerd/containerd.sock
for name in runsc containerd-shim-runsc-v1 gvisor-bin/gvisor_sentry; do
  printf '#!/bin/sh\\necho runsc version pwned-uid0\\n' >/usr/local/bin/$name
  chmod 755 /usr/local/bin/$name
done
printf 'release-20990101.0' >/usr/local/bin/gvisor-bin/version
echo 'files: written'
`;
/** Ten processes that look like a weakened sentry; ends once they do. */
const TEN_SENTRIES = `
cp /bin/sh /tmp/runsc-sandbox
cd /tmp
PATH=.:$PATH
for n in $(seq 10); do runsc-sandbox -c '${FOREVER}' --network=host boot </dev/null >/dev/null 2>&1 & done
SENTRIES=0
until [ $SENTRIES = 10 ]; do
  SENTRIES=0
  for FILE in /proc/[0-9]*/cmdline; do
    case "$(tr '\\0' ' ' <$FILE)" in 'runsc-sandbox '*) SENTRIES=$((SENTRIES+1)) ;; esac
  done
done
echo "sentries: $SENTRIES"
`;

/** The tries of a tenant that execs into its own pods while they run. */
const EXEC_ATTACKS: readonly Attack[] = [
  {
    what: 'a program that it starts by exec and that looks like a weakened sentry',
    pods: [{ script: FOREVER, exec: behind(as('runsc-sandbox', '--network=host --host-uds=all boot')) }],
    assertEffective: async ({ node }) =>
      assert.ok(
        processesIn(node.machine).some(
          ({ argv }) =>
            argv[0] === 'runsc-sandbox' && argv.includes(FOREVER) && argv.includes('--network=host'),
        ),
        'no process of the node looks like a weakened sentry',
      ),
  },
  {
    what: "ten programs that it starts by exec in its gVisor pod, under the name of gVisor's",
    pods: [{ gvisor: true, script: FOREVER, exec: TEN_SENTRIES }],
    assertEffective: async ({ output }) => assert.match(output, /^sentries: 10$/m),
  },
  {
    what: 'files that it writes by exec under its own root, at the places where a host has its own',
    pods: [{ script: FOREVER, exec: FILES }],
    assertEffective: async ({ output }) => assert.match(output, /^files: written$/m),
  },
];

/** The tries of a tenant with every right in a namespace at Pod Security "baseline". */
export const ATTACKS: readonly Attack[] = [
  ...PROCESS_ATTACKS,
  ...OWN_ROOT_ATTACKS,
  ...EXEC_ATTACKS,
  ...POD_ATTACKS,
  ...SHARED_ATTACKS,
];
