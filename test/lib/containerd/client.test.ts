import assert from 'node:assert/strict';
import { constants, createServer, type ServerHttp2Stream } from 'node:http2';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import type { Reason } from '../../../lib/base/reasons.ts';
import { errorLine } from '../../../lib/base/sanitize.ts';
import { loadedRuntimes, type ShimInfo } from '../../../lib/containerd/client.ts';
import { CriError } from '../../../lib/containerd/error.ts';
import { reasonForError } from '../../../lib/proof/outcome.ts';
import STATUS from '../../fixtures/containerd-status.json' with { type: 'json' };
import { GARBAGE, HANGS, refuses } from '../proof/containerd-scripts.ts';
import { CONFIG, clientOf, fakeContainerd } from '../proof/fake-containerd.ts';

type Scripts = Parameters<typeof fakeContainerd>[1];

describe('CriClient', { concurrency: true }, () => {
  it('decodes no pod labels, because their number is unlimited', async (t) => {
    const labels = Object.fromEntries(Array.from({ length: 1_000 }, (_, n) => [`l${n}`, '']));
    const { containerd, client } = await fakeContainerd(t);
    containerd.sandboxes.add('1f', labels);
    const metadata = { name: '1f', namespace: 'eval', uid: '1f' };
    assert.deepEqual(await client.listSandboxes('all'), [
      { id: '1f', metadata, state: 'SANDBOX_READY', createdAt: 0, runtimeHandler: '' },
    ]);
  });

  it("reads containerd's verbose status, and why a handler's directory gave no network", async (t) => {
    const conditions = [{ type: 'RuntimeReady', status: true, reason: '', message: '' }];
    const networks = { default: 'none', runc: 'OK', runsc: 'no network config found' };
    const loads = Object.entries(networks).map(([name, result]) => [`lastCNILoadStatus.${name}`, result]);
    const bridge = { type: 'bridge', ipam: { type: 'host-local' } };
    const cniconfig = JSON.stringify({
      PluginDirs: ['/opt/cni/bin'],
      Networks: [
        { Config: { Name: 'cluster', Plugins: [{ Network: bridge, Source: '{}' }] }, IFName: 'eth0' },
      ],
    });
    const info = { config: CONFIG, cniconfig, ...Object.fromEntries(loads) };
    const { containerd, client } = await fakeContainerd(t, {
      Status: () => ({ status: { conditions }, info }),
    });
    assert.deepEqual(await client.status(), {
      runtimeName: 'containerd',
      runtimeVersion: 'v2.4.2',
      runtimes: loadedRuntimes(CONFIG),
      cniErrors: new Map([['runsc', 'no network config found']]),
      cni: { plugins: ['bridge', 'host-local'], directories: ['/opt/cni/bin'] },
      conditions,
    });
    const requests = containerd.requests.map(({ request }) => request);
    assert.deepEqual(requests, [{}, { verbose: true }]);
  });

  const SHIMS: readonly [string, Scripts, ShimInfo][] = [
    ['a shim that runs', {}, { kind: 'ok', name: 'io.containerd.runsc.v1' }],
    ['a response without a name', { PluginInfo: () => ({}) }, { kind: 'ok', name: '' }],
    ['an error', { PluginInfo: refuses('no such shim') }, { kind: 'error', message: 'no such shim' }],
    ['containerd 1.x', { PluginInfo: refuses('?', status.UNIMPLEMENTED) }, { kind: 'unsupported' }],
  ];
  for (const [name, scripts, expected] of SHIMS) {
    it(`requests shim info from containerd: ${name}`, async (t) => {
      const { containerd, client } = await fakeContainerd(t, scripts);
      assert.deepEqual(await client.shimInfo('io.containerd.runsc.v1'), expected);
      assert.equal(containerd.requests[0]?.request.options.value.runtimePath, 'io.containerd.runsc.v1');
    });
  }

  const ERRORS: readonly [string, Scripts, CriError['kind'], string][] = [
    ['a refusal', { Version: refuses('no') }, 'refused', 'no'],
    ['not found', { Version: refuses('gone', status.NOT_FOUND) }, 'absent', "containerd's Version: gone"],
    ['garbage', { Version: GARBAGE }, 'unreachable', "containerd's Version: "],
    ['a timeout', { Version: HANGS }, 'timeout', "containerd's Version: "],
  ];
  for (const [name, scripts, kind, words] of ERRORS) {
    it(`reports ${name} as ${kind}`, async (t) => {
      const { client } = await fakeContainerd(t, scripts);
      const error = await client
        .version({ timeoutMs: kind === 'timeout' ? 300 : 60_000 })
        .catch((cause: unknown) => cause);
      assert.ok(error instanceof CriError);
      assert.equal(error.kind, kind);
      assert.ok(error.message.startsWith(words), error.message);
    });
  }

  const CRI = { type: 'io.containerd.grpc.v1', id: 'cri' };
  const FAILED = { ...CRI, initErr: { message: 'failed to find snapshotter "x"' } };
  const PLUGINS: readonly [string, plugins: readonly object[], Reason, message: RegExp][] = [
    ['that failed', [FAILED], 'CriPluginUnavailable', /: failed to find snapshotter "x"$/],
    ['that is disabled', [], 'CriPluginUnavailable', /disabled_plugins/],
    ['of another version', [CRI], 'CheckFailed', /^containerd's Version: unknown service$/],
  ];
  for (const [name, plugins, reason, message] of PLUGINS) {
    it(`explains a CRI plugin ${name}`, async (t) => {
      const Version = refuses('unknown service', status.UNIMPLEMENTED);
      const { containerd, client } = await fakeContainerd(t, { Version, Plugins: () => ({ plugins }) });
      const error = await client.status().catch((cause: unknown) => cause);
      assert.deepEqual([reasonForError(error), containerd.count('Status')], [reason, 0]);
      assert.match(errorLine(error), message);
      assert.deepEqual(containerd.requests[1]?.request.filters, ['type==io.containerd.grpc.v1,id==cri']);
    });
  }

  const STREAMS: readonly [string, answer: (stream: ServerHttp2Stream) => void, CriError['kind']][] = [
    ['an answer of HTTP', (stream) => stream.respond({ ':status': 404 }, { endStream: true }), 'unreachable'],
    ['a call reset by containerd', (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR), 'refused'],
    ['a call not begun', (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM), 'unreachable'],
    ['a lost connection', (stream) => stream.session?.destroy(), 'unreachable'],
  ];
  for (const [name, answer, kind] of STREAMS) {
    it(`reports ${name} as ${kind}`, async (t) => {
      const server = createServer().on('stream', (stream) => answer(stream.on('error', () => {})));
      const client = await clientOf(t, server);
      await assert.rejects(client.version(), { name: 'CriError', kind });
    });
  }

  it('sends no request after its signal is aborted, and cancels a pending one', async (t) => {
    const { containerd, client } = await fakeContainerd(t, { Version: HANGS });
    await assert.rejects(client.version({ signal: AbortSignal.abort(new Error('stop')) }), /stop/);
    assert.deepEqual(containerd.calls, []);
    const stop = new AbortController();
    const called = containerd.called('Version');
    const call = client.version({ signal: stop.signal });
    const rejected = assert.rejects(call, { kind: 'aborted' });
    await called;
    stop.abort();
    await rejected;
  });

  it('cancels pending calls when closed, so that none keeps the process alive', async (t) => {
    const { containerd, client } = await fakeContainerd(t, { RunPodSandbox: HANGS });
    const called = containerd.called('RunPodSandbox');
    const rejected = assert.rejects(client.runSandbox({}, 'runsc', { timeoutMs: null }), { kind: 'aborted' });
    await called;
    client.close();
    await rejected;
    await assert.rejects(client.version(), { kind: 'aborted' });
  });

  it("reads containerd's own PID, or 0", async (t) => {
    const { containerd, client } = await fakeContainerd(t, { Server: () => ({ pid: 612 }) });
    assert.equal(await client.serverPid(), 612);
    containerd.scripts = {};
    assert.equal(await client.serverPid(), 0);
  });

  it('calls Delete of the task service and of the container service', async (t) => {
    const { containerd, client } = await fakeContainerd(t);
    const { sandboxes } = containerd;
    sandboxes.records.set('1f', { labels: { a: 'b', c: 'd' }, task: true });
    sandboxes.records.set('2e', { labels: { a: 'b' }, task: false });
    sandboxes.records.set('3d', { labels: { a: 'b', c: 'd', e: 'f' }, task: false });
    assert.deepEqual(await client.listContainers({ labels: { a: 'b', c: 'd' }, without: 'e' }), [
      { id: '1f', labels: { a: 'b', c: 'd' }, createdAt: { seconds: 0 } },
    ]);
    await client.deleteTask('1f');
    await client.deleteContainer('1f');
    assert.deepEqual([...sandboxes.records.keys()], ['2e', '3d']);
    assert.deepEqual(containerd.calls.slice(-2), ['Tasks.Delete', 'Containers.Delete']);
  });

  it('reads a sandbox and the PIDs that its runtime reports', async (t) => {
    const { containerd, client } = await fakeContainerd(t);
    const config = { linux: { cgroupParent: '/kubepods/pod1' } };
    containerd.sandboxes.add('1f', {}, { config });
    const pid = containerd.sandboxes.byId.get('1f')?.pid ?? 0;
    assert.deepEqual(await client.sandbox('1f'), {
      state: 'SANDBOX_READY',
      isContainerds: true,
      pid,
      runtimeType: 'io.containerd.runsc.v1',
      cgroupParent: '/kubepods/pod1',
      configPath: '',
      annotations: new Map(),
    });
    assert.equal(containerd.requests[0]?.request.verbose, true);
    assert.deepEqual(await client.listPids('1f'), [1]);
    await assert.rejects(client.sandbox('gone'), { kind: 'absent' });
  });

  it('reports whether the connection ends in time', async (t) => {
    const { containerd, client } = await fakeContainerd(t);
    await client.version();
    assert.equal(await client.disconnected(1), false);
    const change = client.disconnected(60_000);
    await containerd.stop();
    assert.equal(await change, true);
  });
});

describe('loadedRuntimes', () => {
  const { statuses: STATUSES, runtimes: RUNTIMES } = STATUS;
  // Shortened, from real statuses; deepEqual shows that no registry credential is retained.
  for (const [release, status] of Object.entries(STATUSES))
    it(`reads the status of containerd ${release}`, () => {
      assert.deepEqual(Object.fromEntries(loadedRuntimes(JSON.stringify(status))), RUNTIMES);
    });

  for (const text of ['null', '{}', '{"containerd":null}', '{"containerd":{"runtimes":null}}', '[]', '5']) {
    it(`finds no handler in ${text}`, () => assert.deepEqual(loadedRuntimes(text), new Map()));
  }

  it('treats fields of the wrong type as absent', () => {
    const runtimes = { a: null, b: { runtimeType: 1, options: 'x', PodAnnotations: [7, null] } };
    const odd = { containerd: { runtimes } };
    const empty = { ...RUNTIMES.runc, runtimeType: '' };
    assert.deepEqual(Object.fromEntries(loadedRuntimes(JSON.stringify(odd))), { a: empty, b: empty });
  });

  it('does not quote a document that is not JSON', () => {
    const cut = JSON.stringify(STATUSES['1.7.34']).slice(0, -2);
    assert.throws(
      () => loadedRuntimes(cut),
      (error: Error) => !/hunter2/.test(`${error.message} ${error.stack} ${String(error.cause)}`),
    );
    assert.throws(() => loadedRuntimes(undefined), /carries no configuration/);
  });
});
