import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, it } from 'node:test';
import { VERSION } from '../../agent/config.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/images.ts';
import { ensureTools } from '../../cluster/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { waitForNode } from './agents.ts';
import { useOwnCluster } from './e2e-cluster.ts';
import { runWithKubectl } from './installation.ts';

const IMAGE = 'registry.example.org/gvisor-ready';
const DIGEST = `sha256:${'1'.repeat(64)}`;

let directory = '';
let cluster: Cluster;
let helm = '';
useOwnCluster('release', [{ name: 'node-1' }], async (started) => {
  cluster = started;
  directory = await mkdtemp(join(tmpdir(), 'release-'));
  ({ helm } = await ensureTools(['helm']));
  // Nodes cannot pull, so the image is loaded under its name in the release.
  await cluster.node('node-1').ctr(['images', 'tag', imageName('agent'), `${IMAGE}@${DIGEST}`]);
});
after(() => rm(directory, { recursive: true, force: true }));

/** Runs a script in the directory of the release's files. */
const inRelease = (script: string) => runWithKubectl(cluster, `cd '${directory}'\n${script}`, [helm]);

it('builds reproducible files that reference the image by digest', async () => {
  const { command: kubectl } = cluster.kubectlCommand([]);
  const env = { ...process.env, PATH: `${helm}:${dirname(kubectl)}:${process.env.PATH}` };
  const sums: string[] = [];
  for (let build = 0; build < 2; build++) {
    const script = `import { writeRelease } from './hack/release.ts';
      await writeRelease('${directory}', { image: '${IMAGE}', digest: '${DIGEST}', repository: 'https://example.org/gvisor-ready' });`;
    await run(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], { cwd: REPO, env });
    await inRelease('sha256sum --check --strict --quiet sha256sums.txt');
    sums.push(await inRelease('cat sha256sums.txt'));
  }
  assert.equal(sums[0], sums[1]);
  const images = await inRelease(`grep -h 'image: ' *.yaml | sort -u`);
  assert.equal(images.trim(), `image: ${IMAGE}@${DIGEST}`);
});

it('installs and uninstalls with kubectl, then installs with Helm', async () => {
  const isReady = ({ ready }: { ready: string }) => ready === 'true';
  await inRelease('kubectl apply -f install.yaml');
  await waitForNode(cluster, 'node-1', isReady);
  await inRelease(`kubectl -n gvisor-ready delete daemonset gvisor-ready-agent --cascade=foreground
    kubectl apply -f uninstall.yaml`);
  await waitForNode(cluster, 'node-1', ({ ready }) => ready === '');
  await inRelease('kubectl delete --ignore-not-found -f uninstall.yaml -f install.yaml');
  await inRelease(`helm install gvisor-ready gvisor-ready-${VERSION}.tgz -n gvisor-ready --create-namespace \\
    --set image.repository=${IMAGE},image.digest=${DIGEST}`);
  await waitForNode(cluster, 'node-1', isReady);
  await inRelease('helm test gvisor-ready -n gvisor-ready');
});
