import assert from 'node:assert/strict';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { FailedStarts } from '../../../agent/pods/failed-starts.ts';
import { tempHost } from '../../lib/host/temp-host.ts';
import { NEVER } from '../../lib/proof/scene.ts';

const BUNDLES = '/run/containerd/io.containerd.runtime.v2.task/k8s.io';

/** A directory of bundles that is watched; `listed` are the ids that containerd lists. */
async function watched(t: TestContext, isProbe = (_: number) => false) {
  const host = await tempHost(t, { [`${BUNDLES}/of-a-pod/config.json`]: '{}' });
  const listed: string[] = [];
  const list = async () => listed.map((id) => ({ id })) as never;
  const client = { bundles: BUNDLES, listSandboxes: list, listPodContainers: async () => [] };
  const starts = new FailedStarts({ client, host, isProbe });
  t.after(() => starts.close());
  await starts.look(NEVER);
  const at = (name: string) => join(host.root, BUNDLES, name);
  /** As containerd removes it. */
  const remove = async (name: string) => {
    await rename(at(name), at(`.${name}`));
    await rm(at(`.${name}`), { recursive: true });
  };
  const make = (name: string) => mkdir(at(name));
  /** What is found of the changes so far: events come in order, so that of a marker comes last. */
  const found = async () => {
    await make('marker');
    await remove('marker');
    const all: string[] = [];
    while (!all.includes('marker')) all.push(...((await starts.look(NEVER)) ?? []));
    return all.filter((name) => name !== 'marker');
  };
  return { starts, listed, remove, make, found, root: host.root };
}

describe('FailedStarts', () => {
  it('finds a bundle that came and went between two looks, beside those of pods that come and go', async (t) => {
    const { make, remove, found } = await watched(t);
    await Promise.all([make('new'), make('failed'), remove('of-a-pod')]);
    await remove('failed');
    assert.deepEqual(await found(), ['failed']);
    assert.deepEqual(await found(), []);
  });

  it('does not count one that comes, goes or stays, is listed, or is a probe', async (t) => {
    const { listed, make, remove, found } = await watched(t);
    await make('new');
    assert.deepEqual(await found(), []);
    await remove('new');
    await remove('of-a-pod');
    assert.deepEqual(await found(), []);
    listed.push('quick');
    await make('quick');
    await remove('quick');
    assert.deepEqual(await found(), []);
    let asked = 0;
    const probes = await watched(t, () => asked++ === 0);
    await probes.make('probe');
    await probes.remove('probe');
    assert.deepEqual(await probes.found(), []);
  });

  it('watches the directory again once it is another', async (t) => {
    const { starts, root, make, remove, found } = await watched(t);
    await rm(join(root, BUNDLES), { recursive: true });
    assert.equal(await starts.look(NEVER), undefined);
    await mkdir(join(root, BUNDLES));
    assert.equal(await starts.look(NEVER), undefined);
    await make('failed');
    await remove('failed');
    assert.deepEqual(await found(), ['failed']);
  });
});
