import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Host } from '../../../agent/host/host.ts';
import { PodReader } from '../../../agent/pods/read-pods.ts';
import { GARBAGE, Refusal, refuses, type Script } from '../proof/containerd-scripts.ts';
import { fakeContainerd } from '../proof/fake-containerd.ts';

const SIGNAL = AbortSignal.timeout(60_000);

type Sandbox = {
  readonly id: string;
  readonly handler: string;
  readonly type: string;
  readonly pid?: number;
};

/** A containerd with these pods, and a host with these processes. */
async function nodeWith(
  context: TestContext,
  sandboxes: readonly Sandbox[],
  processes: Readonly<Record<number, string>> = {},
) {
  const root = await mkdtemp(join(tmpdir(), 'pods-'));
  context.after(() => rm(root, { recursive: true, force: true }));
  for (const [pid, cmdline] of Object.entries(processes)) {
    await mkdir(join(root, 'proc', pid), { recursive: true });
    await writeFile(join(root, 'proc', pid, 'cmdline'), cmdline);
  }
  const scripts: Record<string, Script> = {
    ListPodSandbox: () => ({
      items: sandboxes.map(({ id, handler }) => ({
        id,
        metadata: { name: id, namespace: 'eval', uid: `uid-${id}` },
        labels: { 'io.kubernetes.pod.uid': `uid-${id}` },
        runtimeHandler: handler,
      })),
    }),
    PodSandboxStatus: ({ podSandboxId }) => {
      const found = sandboxes.find(({ id }) => id === podSandboxId);
      return { info: { info: JSON.stringify({ pid: found?.pid, runtimeType: found?.type }) } };
    },
  };
  const { containerd, client } = await fakeContainerd(context, scripts);
  return { containerd, reader: new PodReader(client, new Host(root)), scripts, root };
}

const GVISOR: Sandbox = { id: 'a', handler: 'runsc', type: 'io.containerd.runsc.v1', pid: 11 };
const RUNC: Sandbox = { id: 'b', handler: '', type: 'io.containerd.runc.v2', pid: 12 };

describe('PodReader', () => {
  it('tells what each pod runs in, and asks about each only once', async (t) => {
    const processes = { 11: 'runsc-sandbox\0--root=/run\0', 12: '/pause\0' };
    const { containerd, reader } = await nodeWith(t, [GVISOR, RUNC], processes);
    const expected = [
      {
        namespace: 'eval',
        name: 'a',
        uid: 'uid-a',
        handler: 'runsc',
        sandboxed: true,
        evidence: 'process 11 is "runsc-sandbox"',
      },
      {
        namespace: 'eval',
        name: 'b',
        uid: 'uid-b',
        handler: '',
        sandboxed: false,
        evidence: 'process 12 is "/pause"',
      },
    ];
    assert.deepEqual(await reader.read(SIGNAL), expected);
    assert.deepEqual(await reader.read(SIGNAL), expected);
    assert.equal(containerd.calls.filter((method) => method === 'PodSandboxStatus').length, 2);
    assert.deepEqual(containerd.requests[0]?.request.filter.state, { state: 'SANDBOX_READY' });
  });

  it('asks again about a pod of which nothing could be told', async (t) => {
    const odd = { id: 'c', handler: 'kata', type: 'io.containerd.kata.v2', pid: 13 };
    const { reader, root } = await nodeWith(t, [odd]);
    assert.equal((await reader.read(SIGNAL))[0]?.sandboxed, undefined);
    await mkdir(join(root, 'proc/13'), { recursive: true });
    await writeFile(join(root, 'proc/13/cmdline'), 'qemu\0');
    assert.equal((await reader.read(SIGNAL))[0]?.sandboxed, false);
  });

  it('leaves out a probe and what ended meanwhile, but no pod that calls itself a probe', async (t) => {
    const { containerd, reader, scripts } = await nodeWith(t, [GVISOR]);
    const probe = { 'app.kubernetes.io/managed-by': 'gvisor-ready', 'app.kubernetes.io/component': 'probe' };
    const metadata = { name: 'x', namespace: 'eval', uid: 'u' };
    containerd.scripts = {
      ...scripts,
      ListPodSandbox: () => ({
        items: [
          { id: 'a', metadata, labels: { ...probe, 'io.kubernetes.pod.uid': 'u' } },
          { id: 'probe', metadata, labels: probe },
          { id: 'gone', metadata, labels: { 'io.kubernetes.pod.uid': 'u' } },
        ],
      }),
      PodSandboxStatus: (request) => {
        if (request.podSandboxId === 'gone') throw new Refusal('not found', 5);
        return scripts.PodSandboxStatus?.(request) ?? {};
      },
    };
    assert.deepEqual(
      (await reader.read(SIGNAL)).map(({ uid, sandboxed }) => [uid, sandboxed]),
      [['u', true]],
    );
  });

  it('reads 10,000 pods, and forgets those that went', async (t) => {
    const many = Array.from({ length: 10_000 }, (_, n) => ({ ...RUNC, id: `pod-${n}` }));
    const { reader, containerd, scripts } = await nodeWith(t, many, { 12: '/pause\0' });
    assert.equal((await reader.read(SIGNAL)).length, 10_000);
    containerd.scripts = { ...scripts, ListPodSandbox: () => ({ items: [] }) };
    assert.deepEqual(await reader.read(SIGNAL), []);
    containerd.scripts = scripts;
    assert.equal((await reader.read(SIGNAL)).length, 10_000);
    assert.equal(containerd.calls.filter((method) => method === 'PodSandboxStatus').length, 20_000);
  });

  const bad: readonly [string, Record<string, Script>, RegExp][] = [
    ['a list that is garbage', { ListPodSandbox: GARBAGE }, /ListPodSandbox/],
    ['a list that is refused', { ListPodSandbox: refuses('no space') }, /no space/],
    ['a status that is garbage', { PodSandboxStatus: GARBAGE }, /PodSandboxStatus/],
  ];
  for (const [what, scripts, words] of bad) {
    it(`rejects for ${what}`, async (t) => {
      const { containerd, reader, scripts: usual } = await nodeWith(t, [GVISOR]);
      containerd.scripts = { ...usual, ...scripts };
      await assert.rejects(reader.read(SIGNAL), words);
    });
  }

  for (const info of ['', 'null', '7', '{', '{"pid":"x","runtimeType":7}']) {
    it(`cannot tell from the information ${JSON.stringify(info)}`, async (t) => {
      const { containerd, reader, scripts } = await nodeWith(t, [GVISOR]);
      containerd.scripts = { ...scripts, PodSandboxStatus: () => ({ info: { info } }) };
      assert.equal((await reader.read(SIGNAL))[0]?.sandboxed, undefined);
    });
  }
});
