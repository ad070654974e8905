import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkShim, judgeShim } from '../../../agent/checks/shim.ts';
import { TimeoutError } from '../../../lib/base/async.ts';
import { error, pass } from '../../../lib/checks/finding.ts';
import type { ShimInfo } from '../../../lib/containerd/client.ts';
import { NotVisible } from '../../../lib/host/paths.ts';
import {
  criWith,
  fakeCri,
  inspect,
  outcome,
  outcomeOf,
  refuseStats,
  sourcesOf,
  sourcesWith,
} from './fake-node.ts';

const PRESENT = pass('there');
const ABSENT = error('ShimNotFound', 'not there');
const SHIM = 'containerd-shim-runsc-v1';
const SCRIPT = { program: '#!/bin/sh\n' };
const GVISOR = { kind: 'ok', name: 'io.containerd.runsc.v1' } as const;

describe('judgeShim', () => {
  it("prefers containerd's own success, and the files for containerd 1.x", () => {
    assert.equal(outcome(judgeShim('x', GVISOR, ABSENT)), 'pass');
    for (const onDisk of [PRESENT, ABSENT])
      assert.equal(judgeShim('x', { kind: 'unsupported' }, onDisk), onDisk);
  });

  const ERRORS: readonly (readonly [message: string, onDisk: typeof PRESENT, expected: string])[] = [
    ['runtime "x" binary not installed "y": file does not exist', PRESENT, 'error ShimNotFound'],
    ['fork/exec /usr/local/bin/x: no such file or directory', ABSENT, 'error ShimNotFound'],
    ['invalid custom binary path: stat /x: no such file', ABSENT, 'error ShimNotFound'],
    ['fork/exec /x: permission denied', PRESENT, 'error ShimNotExecutable'],
    ['fork/exec /x: exec format error', PRESENT, 'error ShimNotExecutable'],
    ['exit status 2 (stderr: "flag provided but not defined: -info")', PRESENT, 'pass'],
    ['build label "a" does not match the expected release "b"', PRESENT, 'error ReleaseSkew'],
    ['exit status 1', PRESENT, 'unknown CheckFailed'],
    ['exit status 1', ABSENT, 'error ShimNotFound'],
  ];
  for (const [message, onDisk, expected] of ERRORS) {
    it(`judges "${message}" (${onDisk.message}): ${expected}`, () => {
      const info: ShimInfo = { kind: 'error', message };
      assert.equal(outcome(judgeShim('x', info, onDisk)), expected);
    });
  }
});

describe('shim', () => {
  const FILES = {
    '/bin/x': SCRIPT,
    '/bin/plain': '#!/bin/sh\n',
    '/bin/empty': { program: '' },
    '/bin/page': { program: '<html>' },
    '/bin/d/x': '',
  };
  for (const [runtimePath, expected] of [
    ['/bin/x', 'pass'],
    ['/bin/plain', 'error ShimNotExecutable'],
    ['/bin/empty', 'error ShimNotExecutable'],
    ['/bin/page', 'error ShimNotExecutable'],
    ['/bin/d', 'error ShimNotExecutable'],
    ['/bin/gone', 'error ShimNotFound'],
  ] as const) {
    it(`judges the runtime_path ${runtimePath}: ${expected}`, async (t) => {
      const sources = await sourcesWith(t, FILES, { cri: criWith({ runtimePath }, '1.7.24') });
      assert.equal(await outcomeOf(checkShim, sources), expected);
    });
  }

  it("is unknown when the shim is not found, because containerd's PATH is unknown", async () => {
    const checked = await inspect(checkShim, sourcesOf('debian-shim-missing', { cri: fakeCri(undefined) }));
    assert.equal(outcome(checked), 'unknown CheckFailed');
    const message = `"${SHIM}" is in none of the usual directories, and containerd's PATH is not known`;
    assert.equal(checked.message, message);
    assert.match(checked.evidence?.[0]?.value ?? '', /^looked in \/usr\/local\/sbin \/usr\/local\/bin /);
    assert.equal(checked.evidence?.length, 1);
  });

  it('names the directories that are not mounted', async (t) => {
    const sources = await sourcesWith(t, {}, { cri: fakeCri(undefined) });
    const { root } = sources.host;
    refuseStats(t, (path) => (path.startsWith('/opt/') ? new NotVisible(path, root) : undefined));
    const { evidence } = await inspect(checkShim, sources);
    assert.match(evidence?.[0]?.value ?? '', /^looked in \/usr\/local\/sbin .* \/bin \/home/);
    assert.equal(evidence?.[1]?.value, 'not visible, since the agent does not mount them: /opt/bin');
  });

  it('prefers an executable shim beside the last one to an unusable one', async (t) => {
    const sources = await sourcesWith(t, { [`/opt/odd/${SHIM}`]: SCRIPT, [`/bin/${SHIM}`]: 'no program' });
    assert.equal(await outcomeOf(checkShim, sources), 'error ShimNotExecutable');
    const checked = await inspect(checkShim, { ...sources, shim: `/opt/odd/${SHIM}` });
    assert.equal(checked.message, `The shim is "/opt/odd/${SHIM}"`);
  });

  it("accepts containerd's own result when the disk times out", async (t) => {
    for (const [info, expected] of [
      [GVISOR, 'pass'],
      [undefined, 'unknown CheckTimedOut'],
    ] as const) {
      const sources = await sourcesWith(t, {}, { cri: criWith({}, 'v2.4.2', info) });
      refuseStats(t, () => new TimeoutError('no answer within 5 s'));
      assert.equal(await outcomeOf(checkShim, sources), expected);
    }
  });

  it('fails for an invalid runtime type', async () => {
    for (const runtimeType of ['runsc', 'a/b.c', '']) {
      const sources = sourcesOf('debian-ready', { cri: criWith({ runtimeType }, '1.7.24') });
      assert.equal(await outcomeOf(checkShim, sources), 'error ShimNotFound', runtimeType);
    }
  });
});
