import assert from 'node:assert/strict';
import { access, constants, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imageName } from '../../cluster/images.ts';
import { processesIn } from '../../cluster/machine/machine.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { PROBE_LABELS } from '../../lib/node/proof/sandbox.ts';

/** An attempt to change the agent's report, or to run code outside the pod. */
export type Attack = {
  readonly what: string;
  /** Pods of the tenant. */
  readonly pods: readonly AttackPod[];
  /** Rejects until the attack has taken effect, so that a test cannot pass without an attack. */
  readonly assertEffective?: (view: AttackView) => Promise<void>;
};

/** The state of a running attack. */
export type AttackView = {
  readonly node: ClusterNode;
  /** IDs of the tenant's containers in containerd. */
  readonly ids: readonly string[];
  /** Output of the containers and of the exec commands. */
  readonly output: string;
};

/**
 * The differences from a plain pod that runs as root, with the agent's address in $AGENT. `script` runs in sh and does not
 * end; by default the container runs its image's command.
 */
export type AttackPod = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec?: object;
  readonly container?: object;
  readonly gvisor?: boolean;
  readonly script?: string;
  /** Its container is expected to end and restart. */
  readonly ends?: boolean;
  /** A script for `kubectl exec` in the running container, with the container's ID as $1; it must end. */
  readonly exec?: string;
  /** The standard input of `exec`. */
  readonly input?: () => Promise<string>;
};

export const FOREVER = 'while :; do sleep 1000; done';

/** Keeps the capabilities that "baseline" allows. */
export const BASELINE_CAPABILITIES = { securityContext: {} };

/** Runs a copy of the shell forever under another name with these arguments. */
const runAs = (name: string, args = '') =>
  `mkdir -p /tmp/x; cp /bin/sh "/tmp/x/${name}"; cd /tmp/x; PATH=.:$PATH; "${name}" -c '${FOREVER}' ${args}`;

/** A pod that only runs a script. */
const script = (text: string): AttackPod => ({ script: text });

/** Runs a command in the background, beyond the end of its `kubectl exec`. */
const inBackground = (text: string) => `( ${text} ) </dev/null >/dev/null 2>&1 &`;

/**
 * The node's path of the root file system of the container $1. On cgroup v1 a container finds its ID in /proc/self/cgroup;
 * on v2 its tenant reads it from the API server.
 */
const SET_ROOT = 'ROOT=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$1/rootfs';
/** Programs of the tenant with the names of gVisor's, which print that they ran. */
const FAKE_PROGRAMS =
  "mkdir -p /evil; for name in runsc containerd-shim-runsc-v1; do printf '#!/bin/sh\\necho runsc version pwned-uid0\\n' >/evil/$name; chmod 755 /evil/$name; done";
/** A configuration of the tenant whose handler runs those programs. */
const FAKE_CONFIG =
  'printf \'version = 3\\n[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc]\\nruntime_type = "/evil/runsc"\\n\' >/evil/evil.toml';

/** The path, on the node, in a tenant's root file system to which a fake containerd's argv or environment points. */
async function targetOf({ node, ids }: AttackView): Promise<string> {
  const candidates = processesIn(node.machine).map(async ({ pid, argv }) => {
    const read = (file: string) => readFile(node.path(`/proc/${pid}/${file}`), 'utf8').catch(() => '');
    const isContainerd = (await read('comm')).trim() === 'containerd';
    return isContainerd ? [...argv, ...(await read('environ')).split('\0')] : [];
  });
  const texts = (await Promise.all(candidates)).flat();
  const paths = texts.flatMap((text) => /\/run\/containerd\/[^:]*\/rootfs\/evil[^:]*/.exec(text) ?? []);
  const path = paths.find((each) => ids.some((id) => each.includes(`/${id}/`)));
  assert.ok(path, 'no process named containerd points into the root file system of the container');
  return path;
}

/** Asserts that a fake containerd points to the tenant's programs. */
async function assertProgramsTargeted(view: AttackView): Promise<void> {
  const directory = await targetOf(view);
  for (const name of ['runsc', 'containerd-shim-runsc-v1']) {
    const file = view.node.path(`${directory}/${name}`);
    assert.match(await readFile(file, 'utf8'), /pwned/);
    await access(file, constants.X_OK);
  }
}

/** Attacks that point the agent into the root file system of the tenant's container. */
const OWN_ROOT_ATTACKS: readonly Attack[] = [
  {
    what: 'a containerd whose PATH leads into its own root file system',
    pods: [
      {
        script: FOREVER,
        exec: `${FAKE_PROGRAMS}; ${SET_ROOT}; export PATH=$ROOT/evil:$PATH; ${inBackground(runAs('containerd'))}`,
      },
    ],
    assertEffective: assertProgramsTargeted,
  },
  {
    what: 'a program with that PATH that renames itself to containerd after exec',
    pods: [
      {
        script: FOREVER,
        exec: `${FAKE_PROGRAMS}; ${SET_ROOT}; export PATH=$ROOT/evil:$PATH; ${inBackground(
          `sh -c 'printf containerd >/proc/$$/comm; ${FOREVER}'`,
        )}`,
      },
    ],
    assertEffective: assertProgramsTargeted,
  },
  {
    what: 'a containerd with a configuration in its own root file system',
    pods: [
      {
        script: FOREVER,
        exec: `mkdir -p /evil; ${FAKE_CONFIG}; ${SET_ROOT}; ${inBackground(
          runAs('containerd', '--config $ROOT/evil/evil.toml --address /run/containerd/containerd.sock'),
        )}`,
      },
    ],
    assertEffective: async (view) =>
      assert.match(await readFile(view.node.path(await targetOf(view)), 'utf8'), /"\/evil\/runsc"/),
  },
  {
    what: "symbolic links to the host's secrets",
    pods: [
      {
        script: FOREVER,
        exec: `mkdir -p /evil; ln -s /etc/shadow /evil/runsc; ln -s / /evil/root; ${SET_ROOT}; export PATH=$ROOT/evil:$PATH; ${inBackground(runAs('containerd'))}`,
      },
    ],
    assertEffective: async (view) =>
      assert.equal(await readlink(view.node.path(`${await targetOf(view)}/runsc`)), '/etc/shadow'),
  },
];

/** Floods the agent's port, as a script for the Node.js of the image. */
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

/** Builds tenant-tricks.c, statically linked, as base64. */
async function buildTricks(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'tenant-tricks-'));
  try {
    const program = join(directory, 'tricks');
    await run('gcc', ['-static', '-o', program, join(REPO, 'test/nightly/tenant-tricks.c')]);
    return await readFile(program, 'base64');
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** The steps of that program that succeed wherever users may create namespaces. */
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

/** Attacks on resources that all pods of a node share: its kernel and the agent's port. */
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
    what: "FIFOs and symbolic link loops with the names of gVisor's programs",
    pods: [
      script(
        `mkdir -p /opt/bin; for name in runsc containerd-shim-runsc-v1; do rm -f /usr/local/bin/$name; mkfifo /usr/local/bin/$name; ln -sf $name /opt/bin/$name; done; ${runAs('containerd')}`,
      ),
    ],
  },
  {
    // "baseline" allows CAP_MKNOD. Even if the device could be opened, mounting needs CAP_SYS_ADMIN.
    what: 'a device node of FUSE, which it cannot open',
    pods: [
      {
        container: BASELINE_CAPABILITIES,
        script: `mknod /tmp/fuse c 10 229 || exit 1; if (: </tmp/fuse) 2>/tmp/why; then exit 1; fi; ${FOREVER}`,
      },
    ],
  },
  {
    what: 'cgroups and mounts in its own namespaces',
    pods: [
      {
        container: BASELINE_CAPABILITIES,
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
    what: "three hundred connections that send requests to the agent's port without reading responses",
    pods: [{ container: { image: imageName('agent'), command: ['/usr/local/bin/node', '-e', FLOOD] } }],
  },
];

/** A process of a tenant: its name in sh, its arguments, a command to run `first`, and argv[0] in /proc. */
type Process = Pick<Attack, 'what'> & {
  readonly name: string;
  readonly args?: string;
  readonly first?: string;
  readonly argv0?: string;
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
    what: 'a process that imitates a weakened sentry',
    name: 'runsc-sandbox',
    args: '--network=host --host-uds=all boot',
  },
  {
    what: 'a process that imitates the prewarmer',
    name: 'gvisor-sentry-prewarmer',
    args: '/evil/runsc runsc-sandbox --network=host boot',
  },
  {
    what: "a process that imitates gVisor's shim",
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
    argv0: '\u001b[2J\u001b[31mrunsc-sandbox',
  },
  {
    what: 'a multi-line title that imitates metrics',
    name: '$(printf "containerd\\ngvisor_ready_node_status{status=\\"True\\"} 0")',
    argv0: 'containerd\ngvisor_ready_node_status{status="True"} 0',
  },
  { what: 'a title with HTML', name: '<b>runsc-sandbox<b onload=alert(1)>' },
];

/** Attacks by processes that imitate those of a node, or have unsafe text in their arguments. */
const PROCESS_ATTACKS: readonly Attack[] = PROCESSES.map(
  ({ what, name, args, first = ':', argv0 = name }) => ({
    what,
    pods: [script(`${first}; ${runAs(name, args)}`)],
    assertEffective: async ({ node }) =>
      assert.ok(
        processesIn(node.machine).some(({ argv }) => argv[0] === argv0 && argv[2] === FOREVER),
        `no process of the node is named ${JSON.stringify(argv0)}`,
      ),
  }),
);

/** Attacks by names, labels and annotations of pods. */
const POD_ATTACKS: readonly Attack[] = [
  {
    what: "six containers named like the agent's, of an image without cat",
    pods: Array.from({ length: 6 }, (_, index) => ({
      name: `unusable-${index}`,
      container: { name: 'gvisor-ready-agent', image: imageName('pause') },
    })),
  },
  { what: 'the labels of a probe', pods: [{ labels: PROBE_LABELS, script: FOREVER }] },
  {
    what: 'the labels of a probe on twelve pods with 1.5 MiB of annotations each in containerd',
    pods: Array.from({ length: 12 }, (_, index) => ({
      name: `large-${index}`,
      labels: PROBE_LABELS,
      // containerd escapes each of these as six bytes.
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
    what: 'annotations that set flags of runsc',
    pods: [
      {
        gvisor: true,
        annotations: { 'dev.gvisor.flag.network': 'host', 'dev.gvisor.flag.debug': 'true' },
        script: FOREVER,
      },
    ],
  },
  {
    what: 'an annotation that sets the cgroup of the sandbox',
    pods: [{ gvisor: true, annotations: { 'dev.gvisor.spec.cgroup-parent': '/' }, script: FOREVER }],
  },
  {
    what: 'annotations that containerd uses itself',
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
    what: 'gVisor pods in a crash loop',
    pods: Array.from({ length: 4 }, (_, index) => ({
      name: `brief-${index}`,
      gvisor: true,
      ends: true,
      script: 'sleep 0.2; exit 1',
    })),
  },
];

/** Creates the host files that an agent reads at the same paths in the pod. */
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
/** Starts ten processes that imitate a weakened sentry. */
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

/** Attacks by `kubectl exec`. */
const EXEC_ATTACKS: readonly Attack[] = [
  {
    what: 'a program started by exec that imitates a weakened sentry',
    pods: [
      { script: FOREVER, exec: inBackground(runAs('runsc-sandbox', '--network=host --host-uds=all boot')) },
    ],
    assertEffective: async ({ node }) =>
      assert.ok(
        processesIn(node.machine).some(
          ({ argv }) =>
            argv[0] === 'runsc-sandbox' && argv.includes(FOREVER) && argv.includes('--network=host'),
        ),
        'no process of the node imitates a weakened sentry',
      ),
  },
  {
    what: "ten programs in its gVisor pod with the name of gVisor's sentry",
    pods: [{ gvisor: true, script: FOREVER, exec: TEN_SENTRIES }],
    assertEffective: async ({ output }) => assert.match(output, /^sentries: 10$/m),
  },
  {
    what: 'files in its root file system at the paths that the agent reads on a host',
    pods: [{ script: FOREVER, exec: FILES }],
    assertEffective: async ({ output }) => assert.match(output, /^files: written$/m),
  },
];

export const ATTACKS: readonly Attack[] = [
  ...PROCESS_ATTACKS,
  ...OWN_ROOT_ATTACKS,
  ...EXEC_ATTACKS,
  ...POD_ATTACKS,
  ...SHARED_ATTACKS,
];
