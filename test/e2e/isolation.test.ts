import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { appendFile, readFile } from 'node:fs/promises';
import { before, describe, it } from 'node:test';
import { evaluationPod, runPod } from '../../cluster/story.ts';
import { agentPids } from './agents.ts';
import { deletePods, useCluster } from './e2e-cluster.ts';

const NODE = 'node-1';
/** A user that exists only in the node's /etc/passwd. */
const MARKER = `host-only-${randomUUID().slice(0, 8)}`;

const cluster = useCluster();

/** Host data that a pod must not see: a command for the pod, and a check of its output. */
type Secret = {
  readonly what: string;
  readonly script: string;
  /** Whether the output shows the host. */
  readonly shows: (inside: string) => Promise<boolean>;
};

const SECRETS: readonly Secret[] = [
  {
    what: 'the users of the host',
    script: 'cat /etc/passwd /host/etc/passwd 2>/dev/null',
    shows: async (inside) => {
      const expected = await readFile(cluster().node(NODE).path('/etc/passwd'), 'utf8');
      assert.ok(expected.includes(MARKER), 'the marker user is on the host');
      return inside.includes(MARKER);
    },
  },
  {
    what: 'the processes of the host',
    script: 'for p in /proc/[0-9]* /host/proc/[0-9]*; do cat $p/cmdline 2>/dev/null | tr "\\0" " "; done',
    shows: async (inside) => {
      const pid = cluster().node(NODE).machine.daemonPid('kubelet');
      const cmdline = await readFile(cluster().node(NODE).path(`/proc/${pid}/cmdline`), 'utf8');
      const kubelet = cmdline.split('\0').join(' ').trim();
      assert.match(kubelet, /kubelet --config/);
      return inside.includes(kubelet);
    },
  },
  {
    what: "the version of the host's kernel",
    script: 'cat /proc/version',
    shows: async (inside) => inside.includes((await readFile('/proc/version', 'utf8')).trim()),
  },
  {
    what: "the boot of the host's kernel",
    script: 'cat /proc/sys/kernel/random/boot_id',
    shows: async (inside) =>
      inside.includes((await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()),
  },
  {
    what: 'the mounts of the host',
    script: 'cat /proc/self/mountinfo; cat /host/proc/1/mounts 2>/dev/null',
    shows: async (inside) => {
      const mounts = await readFile(cluster().node(NODE).path('/proc/1/mounts'), 'utf8');
      const upper = /upperdir=([^,\s]+)/.exec(mounts)?.[1];
      assert.ok(upper !== undefined, "the node's root is an overlay");
      return inside.includes('upperdir=');
    },
  },
];

async function runSecrets(pod: string): Promise<Map<string, boolean>> {
  const results = new Map<string, boolean>();
  for (const { what, script, shows } of SECRETS) {
    const inside = await cluster().kubectl(['exec', pod, '--', 'sh', '-c', `${script}; true`]);
    assert.notEqual(inside.trim(), '', `no output for ${what}`);
    results.set(what, await shows(inside));
  }
  return results;
}

describe('an evaluation pod', () => {
  before(() => appendFile(cluster().node(NODE).path('/etc/passwd'), `${MARKER}:x:4242:4242::/:/bin/false\n`));

  it('in gVisor sees its own image and nothing of the host', async () => {
    const spec = { nodeName: NODE };
    await runPod(cluster(), 'isolated', evaluationPod('isolated', { gvisor: true, spec }));
    assert.deepEqual(
      [...(await runSecrets('isolated'))].filter(([, isExposed]) => isExposed),
      [],
    );
    const users = await cluster().kubectl(['exec', 'isolated', '--', 'cat', '/etc/passwd']);
    assert.match(users, /^evaluation:x:1000:/m);
    await deletePods(cluster(), 'isolated');
  });

  it('without gVisor and with the host mounted fails every check, so each check can fail', async () => {
    const spec = {
      nodeName: NODE,
      hostPID: true,
      volumes: [{ name: 'host', hostPath: { path: '/' } }],
    };
    const container = { volumeMounts: [{ name: 'host', mountPath: '/host', readOnly: true }] };
    await runPod(cluster(), 'exposed', evaluationPod('exposed', { gvisor: false, spec, container }));
    assert.deepEqual(
      [...(await runSecrets('exposed'))].filter(([, isExposed]) => !isExposed),
      [],
    );
    await deletePods(cluster(), 'exposed');
  });
});

describe('the agent', () => {
  it('mounts the host read-only, including pod mounts below /run', async () => {
    const node = cluster().node('node-1');
    const [pid] = agentPids(node.machine);
    const mounts = (await readFile(node.path(`/proc/${pid}/mountinfo`), 'utf8'))
      .split('\n')
      .map((line) => line.split(' '))
      .filter(([, , , , point = '']) => point.startsWith('/host/'));
    assert.ok(mounts.some(([, , , , point = '']) => /\/run\/containerd\/.*\/rootfs$/.test(point)));
    assert.deepEqual(
      mounts.filter(([, , , , , options = '']) => !options.split(',').includes('ro')),
      [],
    );
  });
});
