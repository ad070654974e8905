import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { deployAgent } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, run } from '../../hack/run.ts';
import { markedBlocks } from '../docs/marked-blocks.ts';
import { useCluster } from './e2e-cluster.ts';
import { marksOn, remainingObjects } from './installation.ts';
import { RecordedPlugin } from './recorded-plugin.ts';

const cluster = useCluster();

// `test/smoke` runs the block of the page that only uses kubectl.
describe('the uninstall of docs/operations.md with the plugin', () => {
  let plugin: RecordedPlugin;
  before(async () => {
    plugin = await RecordedPlugin.install(cluster());
  });
  after(() => plugin.remove());

  it('leaves nothing behind', { timeout: patient(300_000) }, async () => {
    const blocks = markedBlocks('docs/operations.md').filter(({ kind }) => kind === 'run');
    const block = blocks.find(({ mark }) => mark === 'plugin');
    const nodes = await deployAgent(cluster(), join(REPO, 'manifests/base'));
    for (const { name } of nodes) assert.ok((await marksOn(cluster(), name)).length >= 2, name);
    const options = { cwd: REPO, env: plugin.env(), timeoutMs: 240_000 };
    const printed = await run('/bin/sh', ['-euc', block?.text ?? 'exit 1'], options);
    assert.match(printed, /^3 of 3 nodes to clean$/m);
    for (const { name } of nodes) assert.deepEqual(await marksOn(cluster(), name), [], name);
    const remaining = await remainingObjects(cluster());
    assert.deepEqual(
      remaining.filter((name) => /gvisor-ready|\/gvisor$/.test(name)),
      [],
    );
  });
});
