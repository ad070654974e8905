import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TimeoutError } from '../../../agent/async.ts';
import { judgeShim, shim } from '../../../agent/checks/shim.ts';
import type { ShimInfo } from '../../../agent/containerd/client.ts';
import { error, pass } from '../../../agent/finding.ts';
import { NotVisible } from '../../../agent/host/paths.ts';
import { tempHost } from '../host/temp-host.ts';
import { criStatus, fakeCri, inspect, loadedRuntime, outcome, outcomeOf, sourcesOf } from './fake-node.ts';

const present = pass('there');
const absent = error('ShimNotFound', 'not there');
const refusal = (message: string): ShimInfo => ({ kind: 'error', message });

describe('judgeShim', () => {
  const RESULTS: readonly (readonly [string, ShimInfo, typeof present, string])[] = [
    ['containerd executed it', { kind: 'ok', name: 'io.containerd.runsc.v1' }, absent, 'pass'],
    ['containerd 1.x, on disk', { kind: 'unsupported' }, present, 'pass'],
    ['containerd 1.x, not on disk', { kind: 'unsupported' }, absent, 'error ShimNotFound'],
    [
      'a shim that containerd does not find',
      refusal('runtime "x" binary not installed "y": file does not exist'),
      present,
      'error ShimNotFound',
    ],
    [
      'a missing path',
      refusal('fork/exec /usr/local/bin/x: no such file or directory'),
      absent,
      'error ShimNotFound',
    ],
    [
      'a missing custom path',
      refusal('invalid custom binary path: stat /x: no such file'),
      absent,
      'error ShimNotFound',
    ],
    ['no execute bit', refusal('fork/exec /x: permission denied'), present, 'error ShimNotExecutable'],
    ['another architecture', refusal('fork/exec /x: exec format error'), present, 'error ShimNotExecutable'],
    [
      'too old for -info',
      refusal('exit status 2 (stderr: "flag provided but not defined: -info")'),
      present,
      'pass',
    ],
    [
      'a release skew',
      refusal('build label "a" does not match the expected release "b"'),
      present,
      'error ReleaseSkew',
    ],
    ['an unknown error', refusal('exit status 1'), present, 'unknown CheckFailed'],
    ['an unknown error, not on disk', refusal('exit status 1'), absent, 'error ShimNotFound'],
  ];
  for (const [name, info, onDisk, expected] of RESULTS) {
    it(`judges ${name}: ${expected}`, () => assert.equal(outcome(judgeShim('x', info, onDisk)), expected));
  }
});

describe('shim', () => {
  const table = {
    '/usr/local/bin/x': { program: '#!/bin/sh\n' },
    '/bin/plain': '#!/bin/sh\n',
    '/bin/empty': { program: '' },
    '/bin/page': { program: '<html>' },
    '/bin/d/x': '',
  } as const;
  const PATHS: readonly (readonly [string, string])[] = [
    ['/usr/local/bin/x', 'pass'],
    ['/bin/plain', 'error ShimNotExecutable'],
    ['/bin/empty', 'error ShimNotExecutable'],
    ['/bin/page', 'error ShimNotExecutable'],
    ['/bin/d', 'error ShimNotExecutable'],
    ['/bin/gone', 'error ShimNotFound'],
  ];
  for (const [runtimePath, expected] of PATHS) {
    it(`judges the runtime_path ${runtimePath}: ${expected}`, async (t) => {
      const cri = fakeCri(criStatus('1.7.24', { runsc: loadedRuntime({ runtimePath }) }));
      const host = await tempHost(t, table);
      assert.equal(await outcomeOf(shim, sourcesOf('', { host, cri })), expected);
    });
  }

  it("is unknown when the shim is not found, because containerd's PATH is unknown", async () => {
    const seen = await inspect(shim, sourcesOf('debian-shim-missing', { cri: fakeCri(undefined) }));
    assert.equal(outcome(seen), 'unknown CheckFailed');
    assert.equal(
      seen.message,
      '"containerd-shim-runsc-v1" is in none of the usual directories, and containerd\'s PATH is not known',
    );
    assert.match(seen.evidence?.[0]?.value ?? '', /^looked in \/usr\/local\/sbin \/usr\/local\/bin /);
    assert.equal(seen.evidence?.length, 1);
  });

  it('names the directories that are not mounted', async (t) => {
    const host = await tempHost(t);
    const stat = host.stat.bind(host);
    t.mock.method(host, 'stat', async (path: string) => {
      if (path.startsWith('/opt/')) throw new NotVisible(path, host.root);
      return stat(path);
    });
    const { evidence } = await inspect(shim, sourcesOf('', { host, cri: fakeCri(undefined) }));
    assert.match(evidence?.[0]?.value ?? '', /^looked in \/usr\/local\/sbin .* \/bin \/home/);
    assert.equal(evidence?.[1]?.value, 'not visible, since the agent does not mount them: /opt/bin');
  });

  it('prefers an executable shim beside the last one to an unusable one', async (t) => {
    const host = await tempHost(t, {
      '/opt/odd/containerd-shim-runsc-v1': { program: '#!/bin/sh\n' },
      '/usr/local/bin/containerd-shim-runsc-v1': 'no program',
    });
    const sources = sourcesOf('', { host });
    assert.equal(await outcomeOf(shim, sources), 'error ShimNotExecutable');
    const seen = await inspect(shim, { ...sources, shim: '/opt/odd/containerd-shim-runsc-v1' });
    assert.equal(seen.message, 'The shim is "/opt/odd/containerd-shim-runsc-v1"');
  });

  it("accepts containerd's own result when the disk times out", async (t) => {
    const host = await tempHost(t);
    t.mock.method(host, 'stat', () => Promise.reject(new TimeoutError('no answer within 5 s')));
    const status = criStatus('v2.4.2', { runsc: loadedRuntime() });
    const seen = (info?: ShimInfo) => inspect(shim, sourcesOf('', { host, cri: fakeCri(status, info) }));
    assert.equal(outcome(await seen({ kind: 'ok', name: 'io.containerd.runsc.v1' })), 'pass');
    assert.equal(outcome(await seen()), 'unknown CheckTimedOut');
  });

  it('fails for an invalid runtime type', async () => {
    for (const runtimeType of ['runsc', 'a/b.c', '']) {
      const cri = fakeCri(criStatus('1.7.24', { runsc: loadedRuntime({ runtimeType }) }));
      const seen = await inspect(shim, sourcesOf('debian-ready', { cri }));
      assert.equal(outcome(seen), 'error ShimNotFound', runtimeType);
    }
  });
});
