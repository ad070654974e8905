import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, it } from 'node:test';
import { parse } from 'yaml';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/images.ts';
import { ensureTools } from '../../cluster/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';
import { waitForNode } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { runWithKubectl } from '../e2e/installation.ts';

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
    const script = `import { writeRelease } from '../e2e/hack/release.ts';
      await writeRelease('${directory}', { image: '${IMAGE}', digest: '${DIGEST}', repository: 'https://example.org/gvisor-ready' });`;
    await run(process.execPath, ['--input-type=module', '-e', script], { cwd: REPO, env });
    await inRelease('sha256sum --check --strict --quiet sha256sums.txt');
    sums.push(await inRelease('cat sha256sums.txt'));
  }
  assert.equal(sums[0], sums[1]);
  const images = await inRelease(`grep -h 'image: ' *.yaml | sort -u`);
  assert.equal(images.trim(), `image: ${IMAGE}@${DIGEST}`);
  const chart = `tar -xzOf gvisor-ready-${VERSION}.tgz gvisor-ready/files/components/monitoring/prometheus-rule.yaml`;
  const pages = await inRelease(`{ cat *.yaml; ${chart}; } | grep -o 'runbook_url: .*/docs' | sort -u`);
  assert.equal(pages.trim(), `runbook_url: https://example.org/gvisor-ready/blob/v${VERSION}/docs`);
});

type Workflow = {
  readonly env: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, { readonly env?: object; readonly steps: readonly Step[] }>>;
};
type Step = { readonly run?: string; readonly env?: object };

/** Programs that reach the registry and the forge. Each notes its arguments, and answers as they do. */
const REMOTE: Readonly<Record<string, string>> = {
  cosign: '',
  docker: `case "$*" in *--version) echo ${VERSION} ;; *imagetools*) echo '{"SPDX":{}}' ;; esac`,
  gh: `case "$1 $2" in
release\\ download) cp "$RELEASE"/* . ;;
attestation\\ verify) case $3 in oci:*) ;; *) cat "$3" >/dev/null ;; esac ;;
esac`,
  helm: `case $1 in
push) [ -f "$2" ] && echo 'Digest: ${DIGEST}' >&2 ;;
pull) cp "$RELEASE/gvisor-ready-$4.tgz" "$6" ;;
esac`,
};

it("passes the workflow's own scripts, whose identity is the workflow's", async () => {
  const text = await readFile(join(REPO, '.github/workflows/release.yaml'), 'utf8');
  const repository = 'https://github.com/OWNER/gvisor-ready';
  const ref = `refs/tags/v${VERSION}`;
  // The values of expressions, as the forge would set them.
  const values: Readonly<Record<string, string>> = {
    'github.repository': 'OWNER/gvisor-ready',
    'github.repository_owner': 'example',
    'github.ref': ref,
    'github.token': 'token',
    'needs.image.outputs.digest': DIGEST,
    'needs.publish.outputs.chart': DIGEST,
    'steps.push.outputs.chart': DIGEST,
  };
  const filled = text.replace(/\$\{\{ (.+?) \}\}/g, (whole, name: string) => values[name] ?? whole);
  const workflow = parse(filled) as Workflow;
  const work = await mkdtemp(join(tmpdir(), 'workflow-'));
  after(() => rm(work, { recursive: true }));
  const bin = join(work, 'bin');
  await mkdir(bin);
  for (const [name, script] of Object.entries(REMOTE)) {
    const program = `#!/bin/bash\necho "${name} $*" >>'${work}/calls'\n${script}\n`;
    await writeFile(join(bin, name), program, { mode: 0o755 });
  }
  const known = await readdir(directory);
  for (const job of ['publish', 'verify']) {
    const at = join(work, job);
    await mkdir(at);
    await mkdir(join(at, 'temp'));
    if (job === 'publish')
      for (const file of known) await writeFile(join(at, file), readFileSync(join(directory, file)));
    const { env, steps } = workflow.jobs[job] ?? assert.fail(job);
    const forge = {
      GITHUB_REF_NAME: `v${VERSION}`,
      GITHUB_REPOSITORY: 'OWNER/gvisor-ready',
      GITHUB_ACTOR: 'OWNER',
      GITHUB_OUTPUT: join(at, 'temp/output'),
      RUNNER_TEMP: join(at, 'temp'),
    };
    for (const { run: script, env: own } of steps) {
      if (script === undefined) continue;
      const file = join(at, 'temp/step');
      await writeFile(file, script);
      const variables = { ...process.env, ...workflow.env, ...env, ...forge, ...own };
      await run('bash', ['-e', file], {
        cwd: at,
        env: { ...variables, IMAGE, RELEASE: directory, PATH: `${bin}:${process.env.PATH}` },
      });
    }
  }
  const calls = (await readFile(join(work, 'calls'), 'utf8')).split('\n');
  const identity = `${repository}/.github/workflows/release.yaml@${ref}`;
  const verified = calls.filter((call) => call.startsWith('cosign verify '));
  const signed = calls.filter((call) => call.startsWith('cosign sign '));
  assert.equal(verified.length, 2);
  for (const call of verified) assert.ok(call.includes(`--certificate-identity ${identity} `), call);
  const last = (call: string) => call.split(' ').at(-1);
  assert.deepEqual(verified.map(last), signed.map(last));
  const [created = ''] = calls.filter((call) => call.startsWith('gh release create '));
  for (const file of known) assert.ok(created.includes(` ./${file}`), file);
  const attested = calls
    .filter((call) => call.startsWith('gh attestation verify '))
    .map((call) => call.split(' ')[3]);
  const sums = known.filter((file) => file !== 'sha256sums.txt');
  assert.deepEqual(attested.sort(), [`oci://${IMAGE}@${DIGEST}`, ...sums].sort());
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
