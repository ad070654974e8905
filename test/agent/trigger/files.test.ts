import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { mkdir, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FileTrigger } from '../../../agent/trigger/files.ts';
import { waitFor } from '../../../hack/run.ts';
import { TimeoutError } from '../../../lib/base/async.ts';
import { tempHost } from '../../lib/host/temp-host.ts';

type Tree = Parameters<typeof tempHost>[1];

/** A trigger that watches `paths` on a temporary host; `nextChange` resolves with the next change. */
async function triggerOn(t: TestContext, tree: Tree, paths: readonly string[]) {
  const host = await tempHost(t, tree);
  const changes: string[] = [];
  let next = Promise.withResolvers<void>();
  const trigger = new FileTrigger(host, (path) => {
    changes.push(path);
    next.resolve();
  });
  t.after(() => trigger.close());
  await trigger.watch(paths);
  const nextChange = async () => {
    await next.promise;
    next = Promise.withResolvers<void>();
    return changes.at(-1);
  };
  /** Acts, waits for the change, and sets the watches again as the agent does after an evaluation. */
  const change = async (act: () => Promise<unknown>) => {
    changes.length = 0;
    next = Promise.withResolvers<void>();
    await act();
    await nextChange();
    await trigger.watch(paths);
  };
  return { at: (path: string) => join(host.root, path), trigger, changes, change, nextChange };
}

describe('FileTrigger', { concurrency: true }, () => {
  const CONFIG = '/etc/containerd/config.toml';

  it('reports a file that is written, replaced by rename, deleted and created', async (t) => {
    const { at, change } = await triggerOn(t, { [CONFIG]: 'a' }, [CONFIG]);
    await change(() => writeFile(at(CONFIG), 'b'));
    await writeFile(at('/etc/containerd/new'), 'c');
    await change(() => rename(at('/etc/containerd/new'), at(CONFIG)));
    await change(() => unlink(at(CONFIG)));
    await change(() => writeFile(at(CONFIG), 'd'));
  });

  it('keeps its watches when the host times out, and retries', async (t) => {
    const host = await tempHost(t, { [CONFIG]: 'a', '/opt/runsc': 'b' });
    const changes: string[] = [];
    const trigger = new FileTrigger(host, (path) => changes.push(path), { pollMs: 50 });
    t.after(() => trigger.close());
    await trigger.watch([CONFIG]);
    const late = () => Promise.reject(new TimeoutError('no answer within 5 s'));
    t.mock.method(host, 'glance', () => host);
    const realpath = t.mock.method(host, 'realpath', late);
    await trigger.watch([CONFIG, '/opt/runsc']);
    await writeFile(join(host.root, CONFIG), 'c');
    await waitFor('the change of a file', 5_000, async () => changes.includes(CONFIG) || undefined, 5);
    realpath.mock.restore();
    // No call of watch() from here on.
    const write = async () => {
      await writeFile(join(host.root, '/opt/runsc'), 'd');
      return changes.includes('/opt/runsc') || undefined;
    };
    await waitFor('the change of another', 5_000, write, 20);
  });

  it('reports a file whose directory does not exist yet', async (t) => {
    const { at, change } = await triggerOn(t, { '/etc/os-release': '' }, [CONFIG]);
    await change(() => mkdir(at('/etc/containerd')));
    await change(() => writeFile(at(CONFIG), 'a'));
  });

  type Act = (at: (path: string) => string, round: number) => Promise<unknown>;
  const replace = (directory: string): Act => {
    return async (at, round) => {
      await rename(at(directory), at(`/old-${round}`));
      await rename(at(`/new-${round}`), at(directory));
    };
  };
  const recreate = (directory: string): Act => {
    return async (at) => {
      await rm(at(directory), { recursive: true });
      await mkdir(at(directory));
    };
  };
  for (const [what, file, inside, act] of [
    ['a directory that is replaced by rename', CONFIG, 'config.toml', replace('/etc/containerd')],
    ['a parent directory that is replaced', '/opt/a/b/c/file', 'b/c/file', replace('/opt/a')],
    ['a directory that is deleted and recreated', CONFIG, '', recreate('/etc/containerd')],
    ['a directory with the same name as a file in it', '/opt/runsc/runsc', '', recreate('/opt/runsc')],
  ] as const)
    it(`follows ${what}, twice`, async (t) => {
      const tree = { [file]: 'a', [`/new-1/${inside}`]: 'b', [`/new-2/${inside}`]: 'c' };
      const { at, change } = await triggerOn(t, inside === '' ? { [file]: 'a' } : tree, [file]);
      for (const round of [1, 2]) {
        await change(() => act(at, round));
        await change(() => writeFile(at(file), 'later'));
      }
    });

  it('reports a retargeted link anywhere in a chain', async (t) => {
    const tree = {
      '/usr/bin/runsc': { link: '/etc/alternatives/runsc' },
      '/etc/alternatives/runsc': { link: '/opt/current/runsc' },
      '/opt/current': { link: 'v1' },
      '/opt/v1/runsc': '1',
      '/opt/v2/runsc': '2',
    };
    const { at, change } = await triggerOn(t, tree, ['/usr/bin/runsc']);
    const retarget = async (link: string, target: string) => {
      await symlink(target, at('/new'));
      await rename(at('/new'), at(link));
    };
    await change(() => writeFile(at('/opt/v1/runsc'), 'changed'));
    await change(() => retarget('/opt/current', 'v2'));
    await change(() => writeFile(at('/opt/v2/runsc'), 'changed'));
    await change(() => retarget('/etc/alternatives/runsc', '/opt/v1/runsc'));
    await change(() => retarget('/usr/bin/runsc', '/opt/v2/runsc'));
  });

  it('survives a loop of links', async (t) => {
    const tree = { '/a': { link: '/b' }, '/b': { link: '/a' } };
    const { at, change } = await triggerOn(t, tree, ['/a/file']);
    await change(() => unlink(at('/b')));
  });

  it('does not report other names', async (t) => {
    const { at, changes, change } = await triggerOn(t, { [CONFIG]: 'a' }, [CONFIG]);
    await writeFile(at('/etc/containerd/other'), '1');
    await writeFile(at('/etc/passwd'), '1');
    await mkdir(at('/opt'));
    // inotify events of one directory are ordered, so an event of the writes above would come first.
    await change(() => writeFile(at(CONFIG), 'b'));
    assert.deepEqual([...new Set(changes)], [CONFIG]);
  });

  it('stops watching paths that are no longer listed', async (t) => {
    const tree = { '/one/file': '1', '/two/file': '2' };
    const { at, trigger, changes, nextChange } = await triggerOn(t, tree, ['/one/file']);
    await trigger.watch(['/two/file']);
    await writeFile(at('/one/file'), 'b');
    await writeFile(at('/two/file'), 'b');
    assert.equal(await nextChange(), '/two/file');
    assert.deepEqual([...new Set(changes)], ['/two/file']);
  });

  it('reports a new path that changed since the given time', async (t) => {
    const { trigger, changes } = await triggerOn(t, { '/one/file': '1', '/two/file': '2' }, []);
    await trigger.watch(['/one/file'], Date.now() + 3_600_000);
    assert.equal(changes.length, 0);
    await trigger.watch(['/one/file', '/two/file'], Date.now() - 3_600_000);
    assert.ok(changes.includes('/two'), `${changes}`);
    const before = changes.length;
    await trigger.watch(['/one/file', '/two/file'], Date.now() - 3_600_000);
    assert.equal(changes.length, before);
  });

  it('reports a new path that disappeared since then', async (t) => {
    const { at, trigger, changes } = await triggerOn(t, { '/one/file': '1' }, []);
    const since = Date.now();
    await unlink(at('/one/file'));
    await trigger.watch(['/one/file'], since);
    assert.ok(changes.includes('/one'), `${changes}`);
  });

  it('reports nothing after close', async (t) => {
    const { at, trigger, changes, nextChange } = await triggerOn(t, { '/one/file': '1' }, ['/one/file']);
    trigger.close();
    await writeFile(at('/one/file'), '2');
    await trigger.watch(['/one/file']);
    await writeFile(at('/one/file'), '3');
    assert.equal(await nextChange(), '/one/file');
    assert.ok(changes.length > 0);
  });
});

const FILES = { '/etc/config.toml': 'a', '/opt/runsc': 'b' };
const CONFIG = '/etc/config.toml';
const RUNSC = '/opt/runsc';
/** Identifies the timer of the poll. */
const POLL_MS = 987_654;

/** A trigger whose watches fail for the directories that `fails` selects; the test ends its timers. */
async function exhausted(t: TestContext, fails: (directory: string) => boolean = () => true) {
  const host = await tempHost(t, FILES);
  const kernel = { fails };
  const { watch } = fs;
  const limited = (directory: string, listener: fs.WatchListener<string>) => {
    if (kernel.fails(directory)) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    return watch(directory, listener);
  };
  t.mock.method(fs, 'watch', limited as typeof watch);
  syncBuiltinESMExports();
  // The next poll, and a promise that resolves when the poll after it is scheduled.
  let next: (() => void) | undefined;
  let waits = Promise.withResolvers<void>();
  const timer = { unref: () => timer };
  const { setTimeout: setReal, clearTimeout: clearReal } = globalThis;
  const setTimer = (callback: () => void, ms: number) => {
    if (ms !== POLL_MS) return setReal(callback, ms);
    next = callback;
    waits.resolve();
    return timer;
  };
  const clearTimer = (each: unknown) => {
    if (each === timer) next = undefined;
    else clearReal(each as NodeJS.Timeout);
  };
  t.mock.method(globalThis, 'setTimeout', setTimer as unknown as typeof setTimeout);
  t.mock.method(globalThis, 'clearTimeout', clearTimer);
  const changes: string[] = [];
  const reported: (readonly [number, string])[] = [];
  const trigger = new FileTrigger(host, (path) => changes.push(path), {
    onUnwatched: (...report) => reported.push(report),
    pollMs: POLL_MS,
  });
  t.after(() => {
    trigger.close();
    t.mock.reset();
    syncBuiltinESMExports();
  });
  /** Runs the scheduled poll and waits until the next one is scheduled; does nothing after close. */
  const poll = async () => {
    const callback = next;
    if (callback === undefined) return;
    waits = Promise.withResolvers<void>();
    callback();
    await waits.promise;
  };
  const at = (path: string) => join(host.root, path);
  const counts = () => reported.map(([directories]) => directories);
  return { trigger, host, kernel, changes, reported, counts, poll, at };
}

describe('FileTrigger, if inotify watches are exhausted', () => {
  it('polls instead, and watches again later (real kernel)', async (t) => {
    const { root } = await tempHost(t, { [CONFIG]: 'a' });
    const child = fileURLToPath(new URL('without-watches.ts', import.meta.url));
    const command = 'ulimit -n 256 && exec "$0" "$1" "$2"';
    const out = execFileSync('sh', ['-c', command, process.execPath, child, root], { encoding: 'utf8' });
    const directories = 2; // the root and /etc
    assert.deepEqual(JSON.parse(out), [[directories, 'EMFILE'], '/etc', [0, 'EMFILE'], CONFIG]);
  });

  it('reports the number of unwatched directories when it changes', async (t) => {
    const { trigger, kernel, reported, counts } = await exhausted(t);
    await trigger.watch([CONFIG]);
    await trigger.watch([CONFIG]);
    assert.deepEqual(reported, [[2, 'ENOSPC']]);
    await trigger.watch([CONFIG, RUNSC]);
    kernel.fails = () => false;
    await trigger.watch([CONFIG, RUNSC]);
    assert.deepEqual(counts(), [2, 3, 0]);
  });

  it('does not report intermediate numbers while it sets watches', async (t) => {
    const { trigger, kernel, counts, poll } = await exhausted(t);
    await trigger.watch([CONFIG]);
    kernel.fails = (directory) => {
      if (!directory.endsWith('/etc')) return false;
      void poll();
      return true;
    };
    await trigger.watch([CONFIG]);
    assert.deepEqual(counts(), [2, 1]);
  });

  it('reports each change in a polled directory once, and no other names', async (t) => {
    const { trigger, changes, poll, at } = await exhausted(t);
    await trigger.watch([CONFIG]);
    const counts: number[] = [];
    for (const act of [
      () => writeFile(at('/etc/other'), ''),
      () => rename(at(CONFIG), at('/etc/moved')),
      () => rename(at('/etc/moved'), at(CONFIG)),
      async () => {},
    ]) {
      await act();
      await poll();
      counts.push(changes.length);
    }
    assert.deepEqual(counts, [0, 1, 2, 2]);
    assert.deepEqual(changes, ['/etc', '/etc']);
  });

  it('does not report a poll that timed out', async (t) => {
    const { trigger, host, changes, poll } = await exhausted(t);
    await trigger.watch([CONFIG]);
    const timeout = () => Promise.reject(new TimeoutError('no answer within 5 s'));
    const statEntry = t.mock.method(host, 'statEntry', timeout);
    await poll();
    statEntry.mock.restore();
    await poll();
    assert.deepEqual(changes, []);
  });

  it('reports a change during an evaluation', async (t) => {
    const { trigger, changes, poll, at } = await exhausted(t);
    await trigger.watch([CONFIG]);
    await rename(at(CONFIG), at('/etc/gone'));
    await trigger.watch([CONFIG]);
    await poll();
    assert.deepEqual(changes, ['/etc']);
  });

  it('reports a change before the directory can be watched again', async (t) => {
    const { trigger, kernel, changes, at } = await exhausted(t);
    await trigger.watch([CONFIG]);
    const since = Date.now();
    await rename(at(CONFIG), at('/etc/gone'));
    kernel.fails = () => false;
    await trigger.watch([CONFIG], since);
    assert.ok(changes.includes('/etc'), `${changes}`);
  });

  it('still watches the other directories', async (t) => {
    const inOpt = (directory: string) => directory.endsWith('/opt');
    const { trigger, changes, reported, at } = await exhausted(t, inOpt);
    await trigger.watch([CONFIG, RUNSC]);
    assert.deepEqual(reported, [[1, 'ENOSPC']]);
    await writeFile(at(CONFIG), 'c');
    await waitFor('the change', 5_000, async () => changes.length > 0 || undefined, 5);
    assert.deepEqual([...new Set(changes)], [CONFIG]);
  });
});
