import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { appendFile, readFile } from 'node:fs/promises';
import { before, describe, it } from 'node:test';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { markedBlock, substituteSettings } from '../docs/marked-blocks.ts';
import { agentPids, readReport } from './agents.ts';
import { provenAgain } from './disturb.ts';
import { deletePods, GVISOR_NODES, useCluster } from './e2e-cluster.ts';
import { runWithKubectl } from './installation.ts';
import { shareOfProbes } from './own-cgroup.ts';

const NODE = 'node-1';
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** A user that exists only in the node's /etc/passwd. */
const MARKER = `host-only-${randomUUID().slice(0, 8)}`;

const cluster = useCluster();

/** Host data that a pod must not see: a script for the pod that would print it, and the data. */
const SECRETS: Readonly<Record<string, readonly [script: string, secret: () => Promise<string>]>> = {
  'the users of the host': ['cat /etc/passwd /host/etc/passwd 2>/dev/null', async () => MARKER],
  'the processes of the host': [
    'for p in /proc/[0-9]* /host/proc/[0-9]*; do cat $p/cmdline 2>/dev/null | tr "\\0" " "; done',
    async () => {
      const pid = cluster().node(NODE).machine.daemonPid('kubelet');
      const cmdline = await readFile(cluster().node(NODE).path(`/proc/${pid}/cmdline`), 'utf8');
      return cmdline.split('\0').join(' ').trim();
    },
  ],
  "the version of the host's kernel": ['cat /proc/version', () => readFile('/proc/version', 'utf8')],
  "the boot of the host's kernel": [`cat ${BOOT_ID}`, () => readFile(BOOT_ID, 'utf8')],
  // The root of a node is an overlay.
  'the mounts of the host': [
    'cat /proc/self/mountinfo; cat /host/proc/1/mounts 2>/dev/null',
    async () => 'upperdir=',
  ],
};

/** The names of the secrets that the output of a pod shows, or does not show. */
async function secretsIn(pod: string, shown: boolean): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [what, [script, secret]] of Object.entries(SECRETS)) {
    const inside = await cluster().kubectl(['exec', pod, '--', 'sh', '-c', `${script}; true`]);
    assert.notEqual(inside.trim(), '', `no output for ${what}`);
    if (inside.includes((await secret()).trim()) === shown) found.push(what);
  }
  return found;
}

/** Runs the test of the page. */
const tell = (pod: string) =>
  runWithKubectl(
    cluster(),
    substituteSettings(markedBlock('docs/evaluations.md', 'isolation', 'run'), { POD: pod }),
  );

describe('an evaluation pod', () => {
  before(() => appendFile(cluster().node(NODE).path('/etc/passwd'), `${MARKER}:x:4242:4242::/:/bin/false\n`));

  it('in gVisor sees its own image and nothing of the host', async () => {
    const spec = { nodeName: NODE };
    await runPod(cluster(), 'isolated', evaluationPod('isolated', { gvisor: true, spec }));
    assert.deepEqual(await secretsIn('isolated', true), []);
    const users = await cluster().kubectl(['exec', 'isolated', '--', 'cat', '/etc/passwd']);
    assert.match(users, /^evaluation:x:1000:/m);
    await tell('isolated');
    await deletePods(cluster(), 'isolated');
  });

  it('without gVisor and with the host mounted shows every secret, so each check can fail', async () => {
    const spec = { nodeName: NODE, hostPID: true, volumes: [{ name: 'host', hostPath: { path: '/' } }] };
    const container = { volumeMounts: [{ name: 'host', mountPath: '/host', readOnly: true }] };
    await runPod(cluster(), 'exposed', evaluationPod('exposed', { gvisor: false, spec, container }));
    assert.deepEqual(await secretsIn('exposed', false), []);
    await assert.rejects(tell('exposed'), /exposed runs on the kernel of node-1/);
    await deletePods(cluster(), 'exposed');
  });
});

describe('the sandbox of a proof, with the cgroupfs driver', () => {
  for (const node of GVISOR_NODES)
    it(`is in the cgroup kubepods with the default CPU share, and the check limits passes: ${node}`, async () => {
      const [share] = await Promise.all([shareOfProbes(cluster().node(node)), provenAgain(cluster(), node)]);
      assert.match(share, /^(cpu\.shares 1024|cpu\.weight 100)$/);
      const { findings } = await readReport(cluster(), node);
      const limits = findings.find(({ check }) => check === 'limits');
      assert.deepEqual(
        [limits?.status, limits?.message],
        ['pass', 'The sandbox lies in /kubepods/gvisor_ready'],
      );
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
