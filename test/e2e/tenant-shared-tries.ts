import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imageName } from '../../cluster/images.ts';
import { processesIn } from '../../cluster/machine/machine.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { ALL_THAT_BASELINE_ALLOWS, as, FOREVER, script, type Try } from './tenant-try.ts';

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
  const folder = await mkdtemp(join(tmpdir(), 'tenant-tricks-'));
  try {
    const program = join(folder, 'tricks');
    await run('gcc', ['-static', '-o', program, join(REPO, 'test/e2e/tenant-tricks.c')]);
    return await readFile(program, 'base64');
  } finally {
    await rm(folder, { recursive: true });
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
export const SHARED_TRIES: readonly Try[] = [
  {
    what: '3,000 processes',
    before: 'a look cost 1.3 s of CPU more with half as many',
    pods: [
      script(
        `i=0; while [ $i -lt 3000 ]; do sleep 1000 & i=$((i+1)); done; echo "processes: $i"; ${FOREVER}`,
      ),
    ],
    took: async ({ node, said }) => {
      assert.match(said, /^processes: 3000$/m);
      const pids = (await readdir(node.path('/proc'))).filter((name) => /^\d+$/.test(name));
      assert.ok(pids.length > 3000, `the node has ${pids.length} processes`);
    },
  },
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
    // With the capabilities that "baseline" leaves a container, CAP_MKNOD among them. Where the device could be opened,
    // mounting it would still need CAP_SYS_ADMIN.
    what: "FUSE's device, which it can make and cannot open",
    before: 'held',
    pods: [
      {
        container: ALL_THAT_BASELINE_ALLOWS,
        script: `mknod /tmp/fuse c 10 229 || exit 1; if (: </tmp/fuse) 2>/tmp/why; then exit 1; fi; ${FOREVER}`,
      },
    ],
  },
  {
    what: 'cgroups and mounts of its own, in namespaces of its own',
    before: 'held',
    pods: [
      {
        container: ALL_THAT_BASELINE_ALLOWS,
        script: FOREVER,
        exec: 'mkdir -p /usr/local/bin /mnt; base64 -d >/tmp/tricks; chmod 755 /tmp/tricks; /tmp/tricks',
        input: buildTricks,
      },
    ],
    took: async ({ node, ids, said }) => {
      for (const trick of TRICKS) assert.match(said, new RegExp(`^${trick}: took hold$`, 'm'), said);
      const tricked = processesIn(node.machine).find(({ argv }) => argv[0] === '/tmp/tricks');
      const read = (file: string) => readFile(node.path(`/proc/${tricked?.pid}/${file}`), 'utf8');
      assert.match(await read('cgroup'), new RegExp(`${ids[0]}[^/]*/gvisor_ready$`, 'm'));
      assert.match(await read('mountinfo'), / \/run .* tmpfs /);
    },
  },
  {
    what: "three hundred connections that ask the agent's port for its page without waiting for an answer",
    before: 'out of memory within seconds, and again after each restart',
    pods: [{ container: { image: imageName('agent'), command: ['/usr/local/bin/node', '-e', FLOOD] } }],
  },
];
