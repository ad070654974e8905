import assert from 'node:assert/strict';
import { mkdir, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { TimeoutError } from '../../../agent/async.ts';
import { FileTrigger } from '../../../agent/trigger/files.ts';
import { waitFor } from '../../../hack/run.ts';
import { tempHost } from '../host/temp-host.ts';

type Tree = Parameters<typeof tempHost>[1];

/** A trigger on a temporary host that watches `paths`; `heard` resolves with the next change. */
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
  const heard = async () => {
    await next.promise;
    next = Promise.withResolvers<void>();
    return changes.at(-1);
  };
  /** Does that, waits for the change to be heard, and sets the watches anew as the loop does after a look. */
  const change = async (act: () => Promise<unknown>) => {
    changes.length = 0;
    next = Promise.withResolvers<void>();
    await act();
    await heard();
    await trigger.watch(paths);
  };
  return { root: host.root, at: (path: string) => join(host.root, path), trigger, changes, change, heard };
}

describe('FileTrigger', { concurrency: true }, () => {
  const CONFIG = '/etc/containerd/config.toml';

  it('hears a file that is written, replaced by rename, deleted and created', async (t) => {
    const { at, change } = await triggerOn(t, { [CONFIG]: 'a' }, [CONFIG]);
    await change(() => writeFile(at(CONFIG), 'b'));
    await writeFile(at('/etc/containerd/new'), 'c');
    await change(() => rename(at('/etc/containerd/new'), at(CONFIG)));
    await change(() => unlink(at(CONFIG)));
    await change(() => writeFile(at(CONFIG), 'd'));
  });

  it('keeps its watches where the host is late, and sets them again soon', async (t) => {
    const host = await tempHost(t, { [CONFIG]: 'a', '/opt/runsc': 'b' });
    const changes: string[] = [];
    const trigger = new FileTrigger(host, (path) => changes.push(path), { pollMs: 50 });
    t.after(() => trigger.close());
    await trigger.watch([CONFIG]);
    const late = () => Promise.reject(new TimeoutError('no answer within 5 s'));
    const realpath = t.mock.method(host, 'realpath', late);
    await trigger.watch([CONFIG, '/opt/runsc']);
    await writeFile(join(host.root, CONFIG), 'c');
    await waitFor('the change of a file', 5_000, async () => changes.includes(CONFIG) || undefined, 5);
    realpath.mock.restore();
    // Nobody sets watches now.
    const write = async () => {
      await writeFile(join(host.root, '/opt/runsc'), 'd');
      return changes.includes('/opt/runsc') || undefined;
    };
    await waitFor('the change of another', 5_000, write, 20);
  });

  it('hears a file of which not even the folder exists yet', async (t) => {
    const { at, change } = await triggerOn(t, { '/etc/os-release': '' }, [CONFIG]);
    await change(() => mkdir(at('/etc/containerd')));
    await change(() => writeFile(at(CONFIG), 'a'));
  });

  it('follows a folder that is replaced by rename', async (t) => {
    const tree = { [CONFIG]: 'a', '/etc/new/config.toml': 'b', '/etc/newer/config.toml': 'c' };
    const { at, change } = await triggerOn(t, tree, [CONFIG]);
    for (const name of ['new', 'newer']) {
      await change(async () => {
        await rename(at('/etc/containerd'), at(`/etc/old-${name}`));
        await rename(at(`/etc/${name}`), at('/etc/containerd'));
      });
      await change(() => writeFile(at(CONFIG), 'later'));
    }
  });

  it('follows when a folder further up is replaced', async (t) => {
    const tree = { '/opt/a/b/c/file': '1', '/opt/new/b/c/file': '2' };
    const { at, change } = await triggerOn(t, tree, ['/opt/a/b/c/file']);
    await change(async () => {
      await rename(at('/opt/a'), at('/opt/old'));
      await rename(at('/opt/new'), at('/opt/a'));
    });
    await change(() => writeFile(at('/opt/a/b/c/file'), '3'));
  });

  it('follows a folder that is deleted and made again', async (t) => {
    const { at, change } = await triggerOn(t, { [CONFIG]: 'a' }, [CONFIG]);
    for (const _ of [1, 2]) {
      await change(async () => {
        await rm(at('/etc/containerd'), { recursive: true });
        await mkdir(at('/etc/containerd'));
      });
      await change(() => writeFile(at(CONFIG), 'b'));
    }
  });

  it('follows a folder that bears the name of a file in it', async (t) => {
    const tree = { '/opt/runsc/runsc': '1' };
    const { at, change } = await triggerOn(t, tree, ['/opt/runsc/runsc']);
    await change(async () => {
      await rm(at('/opt/runsc'), { recursive: true });
      await mkdir(at('/opt/runsc'));
    });
    await change(() => writeFile(at('/opt/runsc/runsc'), '2'));
  });

  it('hears a link that is retargeted, at each end of a chain and in its middle', async (t) => {
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

  it('stays whole when links lead in a circle', async (t) => {
    const tree = { '/a': { link: '/b' }, '/b': { link: '/a' } };
    const { at, change } = await triggerOn(t, tree, ['/a/file']);
    await change(() => unlink(at('/b')));
  });

  it('hears nothing of names that it was not told of', async (t) => {
    const { at, changes, change } = await triggerOn(t, { [CONFIG]: 'a' }, [CONFIG]);
    await writeFile(at('/etc/containerd/other'), '1');
    await writeFile(at('/etc/passwd'), '1');
    await mkdir(at('/opt'));
    // Events of one folder come in order, so what was written before would have been heard before.
    await change(() => writeFile(at(CONFIG), 'b'));
    assert.deepEqual([...new Set(changes)], [CONFIG]);
  });

  it('forgets what it is no longer told of', async (t) => {
    const tree = { '/one/file': '1', '/two/file': '2' };
    const { at, trigger, changes, heard } = await triggerOn(t, tree, ['/one/file']);
    await trigger.watch(['/two/file']);
    await writeFile(at('/one/file'), 'b');
    await writeFile(at('/two/file'), 'b');
    assert.equal(await heard(), '/two/file');
    assert.deepEqual([...new Set(changes)], ['/two/file']);
  });

  it('counts what changed before it was watched, since the time it is told', async (t) => {
    const { trigger, changes } = await triggerOn(t, { '/one/file': '1', '/two/file': '2' }, []);
    await trigger.watch(['/one/file'], Date.now() + 3_600_000);
    assert.equal(changes.length, 0);
    await trigger.watch(['/one/file', '/two/file'], Date.now() - 3_600_000);
    assert.ok(changes.includes('/two'), `${changes}`);
    const before = changes.length;
    await trigger.watch(['/one/file', '/two/file'], Date.now() - 3_600_000);
    assert.equal(changes.length, before);
  });

  it('counts what vanished before it was watched', async (t) => {
    const { at, trigger, changes } = await triggerOn(t, { '/one/file': '1' }, []);
    const since = Date.now();
    await unlink(at('/one/file'));
    await trigger.watch(['/one/file'], since);
    assert.ok(changes.includes('/one'), `${changes}`);
  });

  it('hears nothing after its end', async (t) => {
    const { at, trigger, changes, heard } = await triggerOn(t, { '/one/file': '1' }, ['/one/file']);
    trigger.close();
    await writeFile(at('/one/file'), '2');
    await trigger.watch(['/one/file']);
    await writeFile(at('/one/file'), '3');
    assert.equal(await heard(), '/one/file');
    assert.ok(changes.length > 0);
  });
});
