import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { imageName } from '../../cluster/images.ts';
import { deployAgent } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, run } from '../../hack/run.ts';
import { markedBlocks, withSettings } from '../docs/marked-blocks.ts';
import { useCluster } from './e2e-cluster.ts';
import { marksOn } from './left-over.ts';
import { RecordedPlugin } from './recorded-plugin.ts';

const cluster = useCluster();
const BLOCKS = markedBlocks('docs/operations.md').filter(({ kind }) => kind === 'run');

/** What the API server still holds of the project, in the namespace or beside it. */
async function objectsLeft(): Promise<string> {
  const kinds = [
    ...['namespaces', 'clusterroles', 'clusterrolebindings', 'runtimeclasses', 'flowschemas'],
    ...['prioritylevelconfigurations', 'validatingadmissionpolicies', 'validatingadmissionpolicybindings'],
    ...[
      'daemonsets',
      'deployments',
      'services',
      'jobs',
      'serviceaccounts',
      'resourcequotas',
      'networkpolicies',
    ],
  ];
  const select = ['-A', '-l', 'app.kubernetes.io/name=gvisor-ready', '-o', 'name'];
  return cluster().kubectl(['get', kinds.join(','), ...select]);
}

describe('the uninstall of docs/operations.md, copied whole', () => {
  let plugin: RecordedPlugin;
  before(async () => {
    assert.deepEqual(
      BLOCKS.map(({ mark }) => mark),
      ['kubectl', 'plugin'],
    );
    plugin = await RecordedPlugin.install(cluster());
  });
  after(() => plugin.remove());

  for (const { mark, text } of BLOCKS) {
    it(`leaves nothing behind: ${mark}`, { timeout: patient(300_000) }, async () => {
      const nodes = await deployAgent(cluster(), join(REPO, 'manifests/base'));
      for (const { name } of nodes) assert.ok((await marksOn(cluster(), name)).length >= 2, name);
      const script = withSettings(text, { AGENT: imageName('agent') });
      const options = { cwd: REPO, env: plugin.env(), timeoutMs: 240_000 };
      const printed = await run('/bin/sh', ['-euc', script], options);
      assert.match(printed, /^3 nodes, 3 of them with something of the agents$/m);
      for (const { name } of nodes) assert.deepEqual(await marksOn(cluster(), name), [], name);
      assert.equal(await objectsLeft(), '');
    });
  }
});
