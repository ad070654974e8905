import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import { PodReader } from '../../../lib/pods/pod-reader.ts';
import { addProcess, cgroupOf, type FakeProcess, sandboxArgv } from '../host/fake-process.ts';
import { processesAmong, recordPaths } from '../host/recorded-paths.ts';
import { tempHost } from '../host/temp-host.ts';
import { GARBAGE, HANGS, Refusal, refuses, type Script } from '../proof/containerd-scripts.ts';
import { fakeContainerd } from '../proof/fake-containerd.ts';

const TIMES_OUT = refuses('no answer within 3 s', status.DEADLINE_EXCEEDED);
const { signal: SIGNAL } = new AbortController();
const GVISOR_TYPE = 'io.containerd.runsc.v1';

/** A pod's sandbox by its name, and its process unless that cannot be read. */
type Sandbox = {
  readonly id: string;
  readonly handler?: string;
  /** Runtime type; gVisor's by default. */
  readonly type?: string;
  readonly process?: FakeProcess | undefined;
  /** Requested cgroup parent. */
  readonly parent?: string;
  /** Annotations of its OCI spec. */
  readonly annotations?: Readonly<Record<string, string>>;
};

const pidOf = (index: number) => 11 + index;

/** A reader on a node with these sandboxes; the PID of the first is 11. */
async function readerOf(t: TestContext, sandboxes: readonly Sandbox[]) {
  const host = await tempHost(t);
  const add = (index: number, process: FakeProcess) =>
    addProcess(host.root, pidOf(index), { cgroup: `0::/kubepods/${sandboxes[index]?.id}\n`, ...process });
  for (const [index, { process }] of sandboxes.entries()) if (process !== undefined) add(index, process);
  const scripts = {
    ListPodSandbox: () => ({
      items: sandboxes.map(({ id, handler = 'runsc' }) => ({
        id,
        metadata: { name: id, namespace: 'eval', uid: `uid-${id}` },
        runtimeHandler: handler,
      })),
    }),
    PodSandboxStatus: ({ podSandboxId }) => {
      const index = sandboxes.findIndex(({ id }) => id === podSandboxId);
      const { type = GVISOR_TYPE, parent, annotations } = sandboxes[index] ?? {};
      const config = parent === undefined ? {} : { linux: { cgroup_parent: parent } };
      const info = { pid: pidOf(index), runtimeType: type, config, runtimeSpec: { annotations } };
      return { info: { info: JSON.stringify(info) } };
    },
  } satisfies Record<string, Script>;
  const { containerd, client } = await fakeContainerd(t, scripts);
  /** Replaces the response for one sandbox. */
  const replaceStatus = (name: string, script: Script) => {
    const PodSandboxStatus: Script = (request) =>
      request.podSandboxId === name ? script(request) : scripts.PodSandboxStatus(request);
    containerd.scripts = { ...scripts, PodSandboxStatus };
  };
  const newReader = () => new PodReader(client, host);
  const reader = newReader();
  const read = async () =>
    (await reader.read(SIGNAL)).map(({ name, sandboxed, limited }) => [name, sandboxed, limited]);
  const examined = () => containerd.count('PodSandboxStatus');
  return { containerd, host, scripts, reader, newReader, read, examined, add, replaceStatus };
}

const PAUSE: FakeProcess = { argv: ['/pause'] };
const gvisor = (id: string, process: Partial<FakeProcess> = {}): Sandbox => ({
  id,
  process: { argv: sandboxArgv(id), ...process },
});
const RUNC_TYPE = 'io.containerd.runc.v2';
const runc = (id: string): Sandbox => ({ id, handler: '', type: RUNC_TYPE, process: PAUSE });

describe('PodReader', () => {
  it('reports the runtime of each pod, and examines each once', async (t) => {
    const { containerd, reader, examined } = await readerOf(t, [gvisor('sandbox-a'), runc('sandbox-b')]);
    const pod = (name: string, handler: string, sandboxed: boolean, evidence: string) => {
      return { namespace: 'eval', name, uid: `uid-${name}`, handler, sandboxed, evidence };
    };
    const expected = [
      pod('sandbox-a', 'runsc', true, 'process 11 is "runsc-sandbox"'),
      pod('sandbox-b', '', false, 'process 12 is "/pause"'),
    ];
    for (const _ of [1, 2]) assert.deepEqual(await reader.read(SIGNAL), expected);
    assert.equal(examined(), 2);
    assert.deepEqual(containerd.requests[0]?.request.filter.state, { state: 'SANDBOX_READY' });
  });

  it('reads no processes but those of sandboxes', async (t) => {
    const { host, reader } = await readerOf(t, [gvisor('sandbox-a'), runc('sandbox-b')]);
    addProcess(host.root, 13, PAUSE);
    const paths = recordPaths(t, host);
    await reader.read(SIGNAL);
    assert.deepEqual(processesAmong(paths), ['/proc/11', '/proc/12']);
  });

  it('reports weaknesses from arguments of any length and from annotations', async (t) => {
    const annotations = { 'dev.gvisor.internal.tpuproxy': 'true', 'io.kubernetes.cri.sandbox-name': 'a' };
    const argv = ['runsc-sandbox', `--strace-syscalls=${'x'.repeat(256 * 1024)}`, '--host-uds=all', 'boot'];
    const { reader } = await readerOf(t, [{ ...gvisor('sandbox-a', { argv }), annotations }]);
    const [pod] = await reader.read(SIGNAL);
    const weak = pod?.weak?.map(({ flag, value, severity }) => `${flag}=${value} ${severity}`);
    assert.deepEqual(weak, ['host-uds=all blocker', 'dev.gvisor.internal.tpuproxy=true warning']);
  });

  for (const [what, type, before, after] of [
    ['whose runtime is unknown', 'io.containerd.kata.v2', undefined, false],
    ['known by its runtime type only', GVISOR_TYPE, true, false],
  ] as const)
    it(`examines a pod again ${what}`, async (t) => {
      const { read, add } = await readerOf(t, [{ id: 'sandbox-a', type }]);
      assert.deepEqual(await read(), [['sandbox-a', before, undefined]]);
      add(0, { argv: ['qemu'] });
      assert.deepEqual(await read(), [['sandbox-a', after, undefined]]);
    });

  it("requests PIDs from the runtime if a process under another runtime type claims to be gVisor's", async (t) => {
    const forged = { ...runc('sandbox-a'), process: { argv: ['runsc-sandbox', '--root=/run'] } };
    const { containerd, newReader, scripts } = await readerOf(t, [forged]);
    for (const [listPids, expected] of [
      [() => ({ processes: [{ pid: 11 }] }), false],
      [() => ({ processes: [{ pid: 1 }] }), true],
      [refuses('no'), undefined],
    ] as const) {
      containerd.scripts = { ...scripts, 'Tasks.ListPids': listPids };
      assert.equal((await newReader().read(SIGNAL))[0]?.sandboxed, expected);
    }
  });

  it('omits probes and pods that have ended, but no pod named like a probe', async (t) => {
    const { containerd, reader, scripts } = await readerOf(t, [gvisor('sandbox-a')]);
    const metadata = { name: 'gvisor-probe-1', namespace: 'gvisor-ready', uid: 'u' };
    containerd.scripts = {
      ListPodSandbox: () => ({
        items: [
          { id: 'sandbox-a', metadata },
          { id: 'probe', metadata: { ...metadata, uid: 'gvisor-probe-1' } },
          { id: 'gone', metadata },
        ],
      }),
      PodSandboxStatus: (request) => {
        if (request.podSandboxId === 'gone') throw new Refusal('not found', status.NOT_FOUND);
        return scripts.PodSandboxStatus(request);
      },
    };
    const pods = (await reader.read(SIGNAL)).map(({ uid, sandboxed }) => [uid, sandboxed]);
    assert.deepEqual(pods, [['u', true]]);
  });

  it('reads 200 pods, and forgets those that ended', async (t) => {
    const many = Array.from({ length: 200 }, (_, n) => ({ ...runc(`pod-${n}`), process: undefined }));
    const { reader, containerd, scripts, add, examined } = await readerOf(t, many);
    for (const index of many.keys()) add(index, PAUSE);
    assert.equal((await reader.read(SIGNAL)).length, 200);
    containerd.scripts = { ...scripts, ListPodSandbox: () => ({ items: [] }) };
    assert.deepEqual(await reader.read(SIGNAL), []);
    containerd.scripts = scripts;
    assert.equal((await reader.read(SIGNAL)).length, 200);
    assert.equal(examined(), 400);
  });

  it('rejects if the list is refused', async (t) => {
    const { containerd, reader, scripts } = await readerOf(t, [gvisor('sandbox-a')]);
    containerd.scripts = { ...scripts, ListPodSandbox: refuses('no space') };
    await assert.rejects(reader.read(SIGNAL), /no space/);
  });

  it('rejects if aborted during an examination', async (t) => {
    const both = [gvisor('sandbox-a'), gvisor('sandbox-b')];
    const { reader, replaceStatus, containerd } = await readerOf(t, both);
    replaceStatus('sandbox-b', HANGS);
    const stop = new AbortController();
    const requested = containerd.called('PodSandboxStatus');
    const read = assert.rejects(reader.read(stop.signal));
    await requested;
    stop.abort();
    await read;
  });
});

describe('PodReader, at a pod that cannot be examined', () => {
  for (const [what, script, evidence] of [
    ['times out', TIMES_OUT, /^containerd's PodSandboxStatus: no answer within \d+ s$/],
    ['is garbage', GARBAGE, /^containerd's PodSandboxStatus: /],
    ['is refused', refuses('no space left on device'), /^no space left on device$/],
  ] as const)
    it(`still reads the others if its status ${what}, and examines it again`, async (t) => {
      const node = await readerOf(t, [gvisor('good'), gvisor('odd')]);
      const { containerd, scripts, reader, replaceStatus, read, examined } = node;
      replaceStatus('odd', script);
      const [good, odd] = await reader.read(SIGNAL);
      assert.deepEqual([good?.sandboxed, odd?.sandboxed], [true, undefined]);
      assert.match(odd?.evidence ?? '', evidence);
      containerd.scripts = scripts;
      assert.deepEqual(await read(), [
        ['good', true, undefined],
        ['odd', true, undefined],
      ]);
      assert.equal(examined(), 3);
    });

  for (const info of ['', 'null', '7', '{', '{"pid":"x","runtimeType":7}'])
    it(`reports an unknown runtime for the information ${JSON.stringify(info)}`, async (t) => {
      const { reader, replaceStatus } = await readerOf(t, [gvisor('sandbox-a')]);
      replaceStatus('sandbox-a', () => ({ info: { info } }));
      assert.equal((await reader.read(SIGNAL))[0]?.sandboxed, undefined);
    });

  it('uses the runtime type if another process has the PID, and examines it again', async (t) => {
    const another = gvisor('sandbox-a', { argv: ['/pause'], cgroup: '0::/elsewhere/another\n' });
    const { reader, examined } = await readerOf(t, [another]);
    for (const _ of [1, 2])
      assert.equal((await reader.read(SIGNAL))[0]?.evidence, 'its runtime is io.containerd.runsc.v1');
    assert.equal(examined(), 2);
  });

  it('uses the runtime type if the arguments are too large', async (t) => {
    const huge = gvisor('huge', { argv: ['/pause', 'x'.repeat(1024 * 1024)] });
    const { reader } = await readerOf(t, [huge, gvisor('good')]);
    const [big, good] = await reader.read(SIGNAL);
    assert.deepEqual([big?.sandboxed, big?.evidence], [true, 'its runtime is io.containerd.runsc.v1']);
    assert.deepEqual([good?.sandboxed, good?.evidence], [true, 'process 12 is "runsc-sandbox"']);
  });

  it('reads a process with many groups', async (t) => {
    const groups = Array.from({ length: 60_000 }, (_, n) => 1_000_000_000 + n).join(' ');
    const { read, examined } = await readerOf(t, [{ ...runc('crowd'), process: { ...PAUSE, groups } }]);
    for (const _ of [1, 2]) assert.deepEqual(await read(), [['crowd', false, undefined]]);
    assert.equal(examined(), 1);
  });
});

describe('PodReader, on limits', () => {
  const SLICE = 'kubepods-burstable-pod12.slice';
  const V1 = '/kubepods/burstable/pod12';

  it('reports whether a gVisor sandbox is in the requested cgroup', async (t) => {
    const escaped = { cgroup: `0::/system.slice/${SLICE}:cri-containerd:escaped\n` };
    const { read } = await readerOf(t, [
      { ...gvisor('v2', { cgroup: cgroupOf(SLICE, 'v2') }), parent: SLICE },
      { ...gvisor('v1', { cgroup: cgroupOf(V1, 'v1') }), parent: V1 },
      { ...gvisor('escaped', escaped), parent: SLICE },
    ]);
    assert.deepEqual(await read(), [
      ['v2', true, true],
      ['v1', true, true],
      ['escaped', true, false],
    ]);
  });

  it('reports nothing for runc, or without a requested cgroup', async (t) => {
    const { read } = await readerOf(t, [{ ...runc('runc'), parent: SLICE }, gvisor('unrequested')]);
    assert.deepEqual(await read(), [
      ['runc', false, undefined],
      ['unrequested', true, undefined],
    ]);
  });
});
