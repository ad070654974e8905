import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import { PodReader } from '../../../agent/pods/pod-reader.ts';
import { cgroupOf, type FakeProcess, sandboxArgv } from '../host/fake-process.ts';
import { GARBAGE, HANGS, refuses, type Script } from '../proof/containerd-scripts.ts';
import { scene } from '../proof/scene.ts';

const SIGNAL = AbortSignal.timeout(60_000);

/** Pods by name, each with its process and what the kubelet asked for. */
type Pods = Readonly<Record<string, { readonly process: FakeProcess; readonly parent?: string }>>;

/** A reader on a node where these pods run. */
async function readerOf(t: TestContext, pods: Pods) {
  const { containerd, client, host } = await scene(t);
  containerd.sandboxes.process = (id) => pods[id]?.process ?? { argv: [] };
  for (const [name, { parent }] of Object.entries(pods)) {
    const metadata = { name, namespace: 'eval', uid: `uid-${name}`, attempt: 0 };
    const linux = parent === undefined ? {} : { linux: { cgroupParent: parent } };
    const config = { metadata, ...linux };
    containerd.sandboxes.add(name, { 'io.kubernetes.pod.uid': metadata.uid }, { config, handler: 'runsc' });
  }
  /** Answers for the pod of that name as the script does, and as usual for the others. */
  const disturb = (name: string, script: Script) => {
    containerd.scripts = {
      PodSandboxStatus: (request) =>
        request.podSandboxId === name ? script(request) : containerd.usual('PodSandboxStatus', request),
    };
  };
  const reader = new PodReader(client, host);
  const read = async () =>
    (await reader.read(SIGNAL)).map(({ name, sandboxed, limited }) => [name, sandboxed, limited]);
  return { containerd, reader, disturb, read };
}

const gvisor = (id: string, cgroup = '0::/\n'): FakeProcess => ({ argv: sandboxArgv(id), cgroup });
const runc = (id: string): FakeProcess => ({ argv: ['/pause'], cgroup: `0::/elsewhere/${id}\n` });
const TWO: Pods = { good: { process: gvisor('good') }, odd: { process: gvisor('odd') } };

describe('PodReader, at one pod that cannot be looked into', () => {
  const odd: readonly [string, Script, RegExp][] = [
    [
      'is late',
      refuses('Deadline exceeded', status.DEADLINE_EXCEEDED),
      /^containerd's PodSandboxStatus: no answer within 3 s$/,
    ],
    ['is garbage', GARBAGE, /^containerd's PodSandboxStatus: /],
    ['is refused', refuses('no space left on device'), /^no space left on device$/],
  ];
  for (const [what, script, words] of odd) {
    it(`hides no other when its status ${what}, and asks again`, async (t) => {
      const { containerd, reader, disturb, read } = await readerOf(t, TWO);
      disturb('odd', script);
      const pods = await reader.read(SIGNAL);
      assert.deepEqual(
        pods.map(({ name, sandboxed }) => [name, sandboxed]),
        [
          ['good', true],
          ['odd', undefined],
        ],
      );
      assert.match(pods[1]?.evidence ?? '', words);
      containerd.scripts = {};
      assert.deepEqual(await read(), [
        ['good', true, undefined],
        ['odd', true, undefined],
      ]);
      assert.equal(containerd.count('PodSandboxStatus'), 3);
    });
  }

  it('judges none by a process that is not its own: where one has ended, another may have its PID', async (t) => {
    const { containerd, reader } = await readerOf(t, { ended: { process: runc('another') } });
    for (const _ of [1, 2]) {
      const [pod] = await reader.read(SIGNAL);
      assert.equal(pod?.sandboxed, true);
      assert.equal(pod.evidence, 'its runtime is io.containerd.runsc.v1');
    }
    assert.equal(containerd.count('PodSandboxStatus'), 2);
  });

  it('looks at a process of many groups', async (t) => {
    const groups = Array.from({ length: 60_000 }, (_, n) => 1_000_000_000 + n).join(' ');
    const { containerd, read } = await readerOf(t, { crowd: { process: { ...runc('crowd'), groups } } });
    for (const _ of [1, 2]) assert.deepEqual(await read(), [['crowd', false, undefined]]);
    assert.equal(containerd.count('PodSandboxStatus'), 1);
  });

  it('rejects when the reading is aborted in the middle', async (t) => {
    const { reader, disturb, containerd } = await readerOf(t, TWO);
    disturb('odd', HANGS);
    const stop = new AbortController();
    const asked = containerd.called('PodSandboxStatus');
    const reading = assert.rejects(reader.read(stop.signal));
    await asked;
    stop.abort();
    await reading;
  });

  it("goes by the runtime's name where the arguments are larger than any that matter", async (t) => {
    const huge = { argv: ['/pause', 'x'.repeat(1024 * 1024)] };
    const { reader } = await readerOf(t, { huge: { process: huge }, good: { process: gvisor('good') } });
    const pods = await reader.read(SIGNAL);
    assert.deepEqual(
      pods.map(({ sandboxed, evidence }) => [sandboxed, evidence.replace(/\d+/, 'N')]),
      [
        [true, 'its runtime is io.containerd.runsc.vN'],
        [true, 'process N is "runsc-sandbox"'],
      ],
    );
  });
});

describe('PodReader, on limits', () => {
  const SLICE = 'kubepods-burstable-pod12.slice';

  it('tells whether the sandbox of a gVisor pod lies in the cgroup that was asked for', async (t) => {
    const { read } = await readerOf(t, {
      held: { process: gvisor('held', cgroupOf(SLICE, 'held')), parent: SLICE },
      'held-v1': {
        process: gvisor('held-v1', cgroupOf('/kubepods/burstable/pod12', 'x')),
        parent: '/kubepods/burstable/pod12',
      },
      escaped: {
        process: gvisor('escaped', `0::/system.slice/${SLICE}:cri-containerd:escaped\n`),
        parent: SLICE,
      },
    });
    assert.deepEqual(await read(), [
      ['held', true, true],
      ['held-v1', true, true],
      ['escaped', true, false],
    ]);
  });

  it('judges none of runc, and none whose cgroup is not known', async (t) => {
    const { read } = await readerOf(t, {
      runc: { process: runc('runc'), parent: SLICE },
      unasked: { process: gvisor('unasked', '0::/elsewhere\n') },
    });
    assert.deepEqual(await read(), [
      ['runc', false, undefined],
      ['unasked', true, undefined],
    ]);
  });
});
