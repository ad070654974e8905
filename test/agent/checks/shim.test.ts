import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TimeoutError } from '../../../agent/async.ts';
import { judgeShim, shim } from '../../../agent/checks/shim.ts';
import type { ShimInfo } from '../../../agent/containerd/client.ts';
import { error, pass } from '../../../agent/finding.ts';
import { tempHost } from '../host/temp-host.ts';
import { criStatus, fakeCri, inspect, loadedRuntime, outcome, sourcesOf } from './fake-node.ts';

const present = pass('there');
const absent = error('ShimNotFound', 'not there');
const refusal = (message: string): ShimInfo => ({ kind: 'error', message });

describe('judgeShim', () => {
  const ANSWERS: readonly (readonly [string, ShimInfo, typeof present, string])[] = [
    ['containerd executed it', { kind: 'ok', name: 'io.containerd.runsc.v1' }, absent, 'pass'],
    ['containerd 1.x, on disk', { kind: 'unsupported' }, present, 'pass'],
    ['containerd 1.x, not on disk', { kind: 'unsupported' }, absent, 'error ShimNotFound'],
    [
      'not found by containerd',
      refusal('runtime "x" binary not installed "y": file does not exist'),
      present,
      'error ShimNotFound',
    ],
    [
      'a path that is gone',
      refusal('fork/exec /usr/local/bin/x: no such file or directory'),
      absent,
      'error ShimNotFound',
    ],
    [
      'a custom path that is gone',
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
      'a skew of releases',
      refusal('build label "a" does not match the expected release "b"'),
      present,
      'error ReleaseSkew',
    ],
    ['an error that says nothing', refusal('exit status 1'), present, 'unknown CheckFailed'],
    ['an error that the disk explains', refusal('exit status 1'), absent, 'error ShimNotFound'],
  ];
  for (const [name, answer, onDisk, expected] of ANSWERS) {
    it(`says ${expected} of ${name}`, () => assert.equal(outcome(judgeShim('x', answer, onDisk)), expected));
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
    it(`says ${expected} of the runtime_path ${runtimePath}`, async (t) => {
      const cri = fakeCri(criStatus('1.7.24', { runsc: loadedRuntime({ runtimePath }) }));
      const host = await tempHost(t, table);
      assert.equal(outcome(await inspect(shim, sourcesOf('', { host, cri }))), expected);
    });
  }

  it("does not claim that the shim is nowhere, since containerd's own PATH is not known", async () => {
    const seen = await inspect(shim, sourcesOf('debian-shim-missing', { cri: fakeCri(undefined) }));
    assert.equal(outcome(seen), 'unknown CheckFailed');
    assert.equal(
      seen.message,
      '"containerd-shim-runsc-v1" is in none of the usual directories, and containerd\'s PATH is not known',
    );
    assert.match(seen.evidence?.[0]?.value ?? '', /^looked in \/usr\/local\/sbin \/usr\/local\/bin /);
  });

  it('looks first where containerd was last seen to run one', async (t) => {
    const host = await tempHost(t, {
      '/opt/odd/containerd-shim-runsc-v1': { program: '#!/bin/sh\n' },
      '/usr/local/bin/containerd-shim-runsc-v1': 'no program',
    });
    const sources = sourcesOf('', { host });
    assert.equal(outcome(await inspect(shim, sources)), 'error ShimNotExecutable');
    const seen = await inspect(shim, { ...sources, shim: '/opt/odd/containerd-shim-runsc-v1' });
    assert.equal(seen.message, 'The shim is "/opt/odd/containerd-shim-runsc-v1"');
  });

  it("needs no disk for containerd's own answer", async (t) => {
    const host = await tempHost(t);
    t.mock.method(host, 'stat', () => Promise.reject(new TimeoutError('no answer within 5 s')));
    const status = criStatus('v2.4.2', { runsc: loadedRuntime() });
    const seen = (answer?: ShimInfo) => inspect(shim, sourcesOf('', { host, cri: fakeCri(status, answer) }));
    assert.equal(outcome(await seen({ kind: 'ok', name: 'io.containerd.runsc.v1' })), 'pass');
    assert.equal(outcome(await seen()), 'unknown CheckTimedOut');
  });

  it('finds no shim for a type that is none', async () => {
    for (const runtimeType of ['runsc', 'a/b.c', '']) {
      const cri = fakeCri(criStatus('1.7.24', { runsc: loadedRuntime({ runtimeType }) }));
      const seen = await inspect(shim, sourcesOf('debian-ready', { cri }));
      assert.equal(outcome(seen), 'error ShimNotFound', runtimeType);
    }
  });
});
