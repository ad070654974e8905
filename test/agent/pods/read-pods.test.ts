import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { PodReader } from '../../../agent/pods/pod-reader.ts';
import { askedPaths, processesAmong } from '../host/asked-paths.ts';
import { addProcess, type FakeProcess } from '../host/fake-process.ts';
import { tempHost } from '../host/temp-host.ts';
import { GARBAGE, Refusal, refuses, type Script } from '../proof/containerd-scripts.ts';
import { fakeContainerd } from '../proof/fake-containerd.ts';

const SIGNAL = AbortSignal.timeout(60_000);
const PAUSE: FakeProcess = { argv: ['/pause'] };

type Sandbox = {
  readonly id: string;
  readonly handler: string;
  readonly type: string;
  readonly pid?: number;
  /** The cgroup parent that the kubelet asked for. */
  readonly parent?: string;
  /** The annotations of its OCI spec. */
  readonly annotations?: Readonly<Record<string, string>>;
};

/** A containerd with these pods, and a host with these processes. */
async function nodeWith(
  context: TestContext,
  sandboxes: readonly Sandbox[],
  processes: Readonly<Record<number, FakeProcess>> = {},
) {
  const host = await tempHost(context);
  const add = (pid: number, process: FakeProcess) => {
    const id = sandboxes.find((sandbox) => sandbox.pid === pid)?.id;
    addProcess(host.root, pid, { cgroup: `0::/kubepods/${id}\n`, ...process });
  };
  for (const [pid, process] of Object.entries(processes)) add(Number(pid), process);
  const scripts: Record<string, Script> = {
    ListPodSandbox: () => ({
      items: sandboxes.map(({ id, handler }) => ({
        id,
        metadata: { name: id, namespace: 'eval', uid: `uid-${id}` },
        runtimeHandler: handler,
      })),
    }),
    PodSandboxStatus: ({ podSandboxId }) => {
      const found = sandboxes.find(({ id }) => id === podSandboxId);
      const config = found?.parent === undefined ? {} : { linux: { cgroup_parent: found.parent } };
      const runtimeSpec = { annotations: found?.annotations };
      const info = { pid: found?.pid, runtimeType: found?.type, config, runtimeSpec };
      return { info: { info: JSON.stringify(info) } };
    },
  };
  const { containerd, client } = await fakeContainerd(context, scripts);
  const newReader = () => new PodReader(client, host);
  return { containerd, host, reader: newReader(), newReader, scripts, add };
}

const GVISOR: Sandbox = { id: 'sandbox-a', handler: 'runsc', type: 'io.containerd.runsc.v1', pid: 11 };
const RUNC: Sandbox = { id: 'sandbox-b', handler: '', type: 'io.containerd.runc.v2', pid: 12 };

describe('PodReader', () => {
  it('reads of processes only those of sandboxes, however many there are', async (t) => {
    const { host, reader } = await nodeWith(t, [GVISOR, RUNC], { 11: PAUSE, 12: PAUSE, 13: PAUSE });
    const asked = askedPaths(t, host);
    await reader.read(SIGNAL);
    assert.deepEqual(processesAmong(asked), ['/proc/11', '/proc/12']);
  });

  it('tells what each pod runs in, and asks about each only once', async (t) => {
    const processes = { 11: { argv: ['runsc-sandbox', '--root=/run'] }, 12: PAUSE };
    const { containerd, reader } = await nodeWith(t, [GVISOR, RUNC], processes);
    const expected = [
      {
        namespace: 'eval',
        name: 'sandbox-a',
        uid: 'uid-sandbox-a',
        handler: 'runsc',
        sandboxed: true,
        evidence: 'process 11 is "runsc-sandbox"',
      },
      {
        namespace: 'eval',
        name: 'sandbox-b',
        uid: 'uid-sandbox-b',
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

  it('tells what weakens a sandbox: flags, however long the arguments are, and annotations of its OCI spec', async (t) => {
    const annotations = { 'dev.gvisor.internal.tpuproxy': 'true', 'io.kubernetes.cri.sandbox-name': 'a' };
    const argv = ['runsc-sandbox', `--strace-syscalls=${'x'.repeat(256 * 1024)}`, '--host-uds=all', 'boot'];
    const { reader } = await nodeWith(t, [{ ...GVISOR, annotations }], { 11: { argv } });
    const [pod] = await reader.read(SIGNAL);
    assert.deepEqual(
      pod?.weak?.map(({ flag, value, severity }) => [flag, value, severity]),
      [
        ['host-uds', 'all', 'blocker'],
        ['dev.gvisor.internal.tpuproxy', 'true', 'warning'],
      ],
    );
  });

  it('asks again about a pod of which nothing could be told', async (t) => {
    const odd = { id: 'c', handler: 'kata', type: 'io.containerd.kata.v2', pid: 13 };
    const { reader, add } = await nodeWith(t, [odd]);
    assert.equal((await reader.read(SIGNAL))[0]?.sandboxed, undefined);
    add(13, { argv: ['qemu'] });
    assert.equal((await reader.read(SIGNAL))[0]?.sandboxed, false);
  });

  it("believes no process that calls itself gVisor's under another runtime, and asks the runtime", async (t) => {
    const forged = { 12: { argv: ['runsc-sandbox', '--root=/run'] } };
    const { containerd, newReader, scripts } = await nodeWith(t, [RUNC], forged);
    const tells =
      (pid: number): Script =>
      () => ({ processes: [{ pid }] });
    const read = async (script: Script) => {
      containerd.scripts = { ...scripts, 'Tasks.ListPids': script };
      return (await newReader().read(SIGNAL))[0]?.sandboxed;
    };
    assert.equal(await read(tells(12)), false);
    assert.equal(await read(tells(1)), true);
    assert.equal(await read(refuses('no')), undefined);
  });

  it('asks again about a pod that only its runtime type told of', async (t) => {
    const { reader, add } = await nodeWith(t, [GVISOR]);
    assert.equal((await reader.read(SIGNAL))[0]?.sandboxed, true);
    add(11, PAUSE);
    assert.equal((await reader.read(SIGNAL))[0]?.sandboxed, false);
  });

  it('leaves out a probe and what ended meanwhile, but no pod that calls itself a probe', async (t) => {
    const { containerd, reader, scripts } = await nodeWith(t, [GVISOR]);
    const metadata = { name: 'gvisor-probe-1', namespace: 'gvisor-ready', uid: 'u' };
    const probe = { ...metadata, uid: 'gvisor-probe-1' };
    containerd.scripts = {
      ...scripts,
      ListPodSandbox: () => ({
        items: [
          { id: 'sandbox-a', metadata },
          { id: 'probe', metadata: probe },
          { id: 'gone', metadata },
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

  it('reads 1,000 pods, and forgets those that went', async (t) => {
    const many = Array.from({ length: 1_000 }, (_, n) => ({ ...RUNC, id: `pod-${n}` }));
    const { reader, containerd, scripts } = await nodeWith(t, many, { 12: PAUSE });
    assert.equal((await reader.read(SIGNAL)).length, 1_000);
    containerd.scripts = { ...scripts, ListPodSandbox: () => ({ items: [] }) };
    assert.deepEqual(await reader.read(SIGNAL), []);
    containerd.scripts = scripts;
    assert.equal((await reader.read(SIGNAL)).length, 1_000);
    assert.equal(containerd.calls.filter((method) => method === 'PodSandboxStatus').length, 2_000);
  });

  const bad: readonly [string, Record<string, Script>, RegExp][] = [
    ['a list that is garbage', { ListPodSandbox: GARBAGE }, /ListPodSandbox/],
    ['a list that is refused', { ListPodSandbox: refuses('no space') }, /no space/],
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
