import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, it } from 'node:test';
import { parse } from 'yaml';
import type { Cluster } from '../../cluster/cluster.ts';
import { HOSTS } from '../../cluster/node/config.ts';
import { CONTROL_PLANE_ADDRESS } from '../../cluster/plan/addresses.ts';
import { REGISTRY, startRegistry } from '../../cluster/services/registry.ts';
import { type Image, imageName } from '../../cluster/tools/images.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, run } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';
import PACKAGE from '../../package.json' with { type: 'json' };
import { markedBlock, substituteSettings } from '../docs/marked-blocks.ts';
import { waitForNode } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { runWithKubectl, TEST_PASSED } from '../e2e/installation.ts';

const IMAGE = `${REGISTRY}/owner/gvisor-ready`;
const CHARTS = `${REGISTRY}/owner/charts`;
const LONG = { timeoutMs: patient(10 * 60_000) };
/** The version after this one. */
const NEXT = '0.2.0';

/** The files that are published, and what stands for the runner's home and the forge. */
let [directory, work] = ['', ''];
let cluster: Cluster;
let helm = '';
let cosign = '';
let [digest, installerDigest] = ['', ''];
useOwnCluster(
  'release',
  [{ name: 'node-1' }],
  async (started) => {
    cluster = started;
    work = await mkdtemp(join(tmpdir(), 'release-'));
    directory = join(work, 'files');
    const tools = await ensureTools(['helm', 'cosign']);
    helm = tools.helm;
    cosign = join(tools.cosign, 'cosign');
    await startRegistry(cluster);
    digest = await push(imageName('agent'), `${IMAGE}:${VERSION}`);
    installerDigest = await push(imageName('installer'), `${IMAGE}-installer:${VERSION}`);
  },
  ['workload', 'agent', 'installer'],
);
after(() => rm(work, { recursive: true, force: true }));

/** Pushes an image from the node, which then has it no more, and returns its digest. */
async function push(name: string, reference: string): Promise<string> {
  const node = cluster.node('node-1');
  await node.ctr(['images', 'tag', name, reference]);
  await node.ctr(['images', 'push', '--hosts-dir', HOSTS, reference], patient(300_000));
  const listed = await node.ctr(['images', 'list', `name==${reference}`]);
  await node.ctr(['images', 'remove', '--sync', reference, name]);
  return / (sha256:[0-9a-f]{64}) /.exec(listed)?.[1] ?? assert.fail(listed);
}

/** Runs a script in the directory of the release's files. */
const inRelease = (script: string) => runWithKubectl(cluster, `cd '${directory}'\n${script}`, [helm]);

/** Runs a script with the programs and credentials of a runner, in the network of the registry. */
async function onRunner(script: string, cwd: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const file = join(work, 'script');
  await writeFile(file, script);
  const variables = {
    ...process.env,
    PATH: `${join(work, 'bin')}:${helm}:${process.env.PATH}`,
    HOME: work,
    KUBECONFIG: join(work, 'kubeconfig'),
    SSL_CERT_FILE: join(cluster.dir, 'pki/ca.crt'),
    COSIGN: cosign,
    COSIGN_PASSWORD: '',
    ...env,
  };
  const network = `--net=/proc/${cluster.controlPlane.pid()}/ns/net`;
  return run('nsenter', [network, '--', 'bash', '-e', file], { cwd, env: variables, ...LONG });
}

/** Runs a module in a checkout, with kubectl and Helm in its path, and returns what it prints. */
async function inCheckout(checkout: string, script: string): Promise<string> {
  const { command: kubectl } = cluster.kubectlCommand([]);
  const env = { ...process.env, PATH: `${helm}:${dirname(kubectl)}:${process.env.PATH}` };
  return run(process.execPath, ['--input-type=module', '-e', script], { cwd: checkout, env, ...LONG });
}

/** Writes the files of a release with images of these digests, as `npm run release` does. */
async function writeFiles(
  checkout: string,
  files: string,
  digests: { readonly digest: string; readonly installerDigest: string },
): Promise<void> {
  const release = { image: IMAGE, ...digests, repository: 'https://example.org/owner/gvisor-ready' };
  const inputs = JSON.stringify(release);
  const script = `import { writeRelease } from './hack/release.ts'; await writeRelease('${files}', ${inputs});`;
  await inCheckout(checkout, script);
}

it('builds reproducible files that reference the images by digest', async () => {
  const sums: string[] = [];
  for (let build = 0; build < 2; build++) {
    await writeFiles(REPO, directory, { digest, installerDigest });
    await inRelease('sha256sum --check --strict --quiet sha256sums.txt');
    sums.push(await inRelease('cat sha256sums.txt'));
  }
  assert.equal(sums[0], sums[1]);
  const images = await inRelease(`grep -h 'image: ' *.yaml | sort -u | sed 's/ *//'`);
  assert.deepEqual(images.trim().split('\n'), [
    `image: ${IMAGE}-installer@${installerDigest}`,
    `image: ${IMAGE}@${digest}`,
  ]);
  const chart = `tar -xzOf gvisor-ready-${VERSION}.tgz gvisor-ready/Chart.yaml gvisor-ready/files/components/monitoring/prometheus-rule.yaml`;
  const places = await inRelease(
    `{ cat *.yaml; ${chart}; } | grep -oE '(runbook_url|home): .*/(docs|gvisor-ready)' | sort -u`,
  );
  assert.deepEqual(places.trim().split('\n'), [
    'home: https://example.org/owner/gvisor-ready',
    `runbook_url: https://example.org/owner/gvisor-ready/blob/v${VERSION}/docs`,
  ]);
  assert.match(await inRelease('cat notes.md'), /^The first release\./);
});

type Step = { readonly run?: string; readonly env?: NodeJS.ProcessEnv };
type Workflow = {
  readonly env: NodeJS.ProcessEnv;
  readonly jobs: Readonly<
    Record<string, { readonly env?: NodeJS.ProcessEnv; readonly steps: readonly Step[] }>
  >;
};

const ISSUER = 'https://token.actions.githubusercontent.com';

/**
 * Makes an authority in place of Fulcio, which certifies the forge's identities, and a key with a certificate for this
 * identity. Source: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
 */
const certify = (identity: string) => `
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /O=authority \
    -addext keyUsage=critical,keyCertSign -keyout authority.key -out authority.crt
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout signer.key -out signer.csr
  openssl x509 -req -in signer.csr -days 1 -CA authority.crt -CAkey authority.key -CAcreateserial -out signer.crt -extfile <(echo '
    keyUsage=critical,digitalSignature
    extendedKeyUsage=codeSigning
    subjectAltName=critical,URI:${identity}
    1.3.6.1.4.1.57264.1.1=DER:${Buffer.from(ISSUER).toString('hex')}')
  "$COSIGN" import-key-pair --key signer.key --output-key-prefix signed`;

/** Without the public log and its timestamps. */
const COSIGN = `case $1 in
sign | attest) set -- "$1" --key "$HOME/signed.key" --certificate "$HOME/signer.crt" --certificate-chain "$HOME/authority.crt" --tlog-upload=false "\${@:2}" ;;
verify | verify-attestation) set -- "$1" --ca-roots "$HOME/authority.crt" --insecure-ignore-sct --insecure-ignore-tlog "\${@:2}" ;;
esac
exec "$COSIGN" "$@"`;

/** Stand-ins for the forge, in shell. Each notes its arguments. */
const FORGE: Readonly<Record<string, string>> = {
  /** The forge's identity. */
  cosign: COSIGN,
  docker: `case "$*" in *--version) echo ${VERSION} ;; *imagetools*) echo '{"SPDX":{}}' ;; esac`,
  gh: `case "$1 $2" in
run\\ list) echo completed success ;;
release\\ create) for each in "$@"; do case $each in ./*) cp "$each" "$HOME/published/" ;; esac; done ;;
release\\ download) cp "$HOME/published/"* . ;;
attestation\\ verify) case $3 in oci:*) ;; *) cat "$3" >/dev/null ;; esac ;;
esac`,
};

it("passes the workflow's own scripts, with a registry and Helm", async () => {
  const text = await readFile(join(REPO, '.github/workflows/release.yaml'), 'utf8');
  const ref = `refs/tags/v${VERSION}`;
  // The values of expressions, as the forge would set them.
  const values: Record<string, string> = {
    'github.repository': 'owner/gvisor-ready',
    'github.repository_owner': 'owner',
    'github.ref': ref,
    'github.token': 'token',
    'vars.GVISOR_SHA256': 'a'.repeat(64),
    'needs.image.outputs.digest': digest,
    'needs.image.outputs.installer': installerDigest,
  };
  const workflow = () =>
    parse(text.replace(/\$\{\{ (.+?) \}\}/g, (whole, name: string) => values[name] ?? whole)) as Workflow;
  for (const each of ['bin', 'published', 'tag', 'checked', 'verify']) await mkdir(join(work, each));
  for (const [name, script] of Object.entries(FORGE)) {
    const program = `#!/bin/bash\necho "${name} $*" >>"$HOME/calls"\n${script}\n`;
    await writeFile(join(work, 'bin', name), program, { mode: 0o755 });
  }
  await cp(directory, join(work, 'publish'), { recursive: true });
  const server = 'https://github.com';
  const described = { ...PACKAGE, repository: `${server}/owner/gvisor-ready` };
  const identity = `${described.repository}/.github/workflows/release.yaml@${ref}`;
  await onRunner(certify(identity), work);
  await writeFile(join(work, 'tag/package.json'), JSON.stringify(described));
  const changelog = await readFile(join(REPO, 'CHANGELOG.md'), 'utf8');
  await writeFile(join(work, 'tag/CHANGELOG.md'), changelog.replace('(unreleased)', '(2026-12-01)'));

  for (const job of ['tag', 'checked', 'publish', 'verify']) {
    for (const [index] of (workflow().jobs[job] ?? assert.fail(job)).steps.entries()) {
      const { env, jobs } = workflow();
      const step = jobs[job]?.steps[index];
      if (step?.run === undefined) continue;
      const runner = {
        GITHUB_REF_NAME: `v${VERSION}`,
        GITHUB_REPOSITORY: 'owner/gvisor-ready',
        GITHUB_ACTOR: 'owner',
        GITHUB_SHA: '0'.repeat(40),
        GITHUB_OUTPUT: join(work, 'output'),
        RUNNER_TEMP: work,
        GITHUB_SERVER_URL: server,
        REGISTRY,
        IMAGE,
        CHARTS,
      };
      await writeFile(runner.GITHUB_OUTPUT, '');
      await onRunner(step.run, join(work, job), { ...env, ...jobs[job]?.env, ...step.env, ...runner });
      for (const [, name, value = ''] of (await readFile(runner.GITHUB_OUTPUT, 'utf8')).matchAll(
        /^(.+?)=(.*)$/gm,
      )) {
        values[`steps.push.outputs.${name}`] = value;
        values[`needs.${job}.outputs.${name}`] = value;
      }
    }
  }

  const calls = (await readFile(join(work, 'calls'), 'utf8')).split('\n');
  const verified = calls.filter((call) => call.startsWith('cosign verify '));
  const signed = calls.filter((call) => call.startsWith('cosign sign '));
  const last = (call: string) => call.split(' ').at(-1);
  assert.deepEqual([verified.length, verified.map(last)], [3, signed.map(last)]);
  for (const call of verified) assert.ok(call.includes(`--certificate-identity ${identity} `), call);
  const verify = (identity: string, image: string) =>
    onRunner(
      `cosign verify --certificate-identity '${identity}' --certificate-oidc-issuer ${ISSUER} ${image}`,
      work,
    );
  await verify(identity, `${IMAGE}@${digest}`);
  await assert.rejects(
    verify(identity.replace('v0', 'v1'), `${IMAGE}@${digest}`),
    /none of the expected identities matched/,
  );
  await assert.rejects(verify(identity, `${IMAGE}@sha256:${'0'.repeat(64)}`), /no signatures found/);
  const asStranger = (signer: string) =>
    onRunner(
      `set -o pipefail\n${substituteSettings(markedBlock('RELEASE.md', 'verify'), { IMAGE: `${IMAGE}@${digest}`, SIGNER: signer })}`,
      work,
    );
  assert.match(await asStranger(identity), new RegExp(`^pino ${PACKAGE.dependencies.pino}$`, 'm'));
  await assert.rejects(asStranger(identity.replace('v0', 'v1')), /none of the expected identities matched/);
  const files = await readdir(directory);
  assert.deepEqual((await readdir(join(work, 'published'))).sort(), files.sort());
  const attested = calls
    .filter((call) => call.startsWith('gh attestation verify '))
    .map((call) => call.split(' ')[3]);
  const images = [`oci://${IMAGE}@${digest}`, `oci://${IMAGE}-installer@${installerDigest}`];
  assert.deepEqual(attested.sort(), [...images, ...files.filter((file) => file !== 'sha256sums.txt')].sort());
});

it('installs and uninstalls with kubectl, then installs with Helm from the registry', async () => {
  const isReady = ({ ready }: { ready: string }) => ready === 'true';
  await inRelease('kubectl apply -f install.yaml');
  await waitForNode(cluster, 'node-1', isReady);
  const pulled = await cluster.node('node-1').ctr(['images', 'list', '--quiet']);
  assert.ok(pulled.split('\n').includes(`${IMAGE}@${digest}`), pulled);
  await inRelease(`kubectl -n gvisor-ready delete daemonset gvisor-ready-agent --cascade=foreground
    kubectl apply -f uninstall.yaml`);
  await waitForNode(cluster, 'node-1', ({ ready }) => ready === '');
  await inRelease('kubectl delete --ignore-not-found -f uninstall.yaml -f install.yaml');
  const kubeconfig = await readFile(cluster.kubeconfig, 'utf8');
  const inside = kubeconfig.replace(/127\.0\.0\.1:\d+/, CONTROL_PLANE_ADDRESS);
  await writeFile(join(work, 'kubeconfig'), inside, { mode: 0o600 });
  const install = `helm install gvisor-ready 'oci://${CHARTS}/gvisor-ready' --version ${VERSION}`;
  await onRunner(`${install} --namespace gvisor-ready --create-namespace`, work);
  await waitForNode(cluster, 'node-1', isReady);
  assert.match(await inRelease('helm test gvisor-ready -n gvisor-ready --logs 2>&1'), TEST_PASSED);
});

it('runs the plugin, the installer and the wheel from their archives', async () => {
  await inRelease(`mkdir programs
    for each in *.tar.gz; do tar -xzf "$each" -C programs; done
    python3 -m venv programs/venv
    programs/venv/bin/pip install --quiet --no-index --no-deps gvisor_dispatch-${VERSION}-py3-none-any.whl
    programs/gvisor-ready-install --help | grep -q install`);
  assert.match(await inRelease('PATH="$PWD/programs:$PATH" kubectl gvisor-ready nodes'), /node-1/);
  assert.match(
    await inRelease('programs/venv/bin/pip show gvisor-dispatch'),
    new RegExp(`Version: ${VERSION}`),
  );
});

/** Makes the next version in a clone of the last commit, as RELEASE.md says, and returns the clone. */
async function makeNextVersion(): Promise<string> {
  const clone = join(work, 'next');
  await run('git', ['clone', '--quiet', REPO, clone]);
  await symlink(join(REPO, 'node_modules'), join(clone, 'node_modules'));
  const git = (...words: string[]) => run('git', words, { cwd: clone });
  await git('config', 'user.name', 'owner');
  await git('config', 'user.email', 'owner@example.org');
  const changelog = join(clone, 'CHANGELOG.md');
  const section = `## ${NEXT} (2026-12-02)\n\nThe second release.\n\n`;
  await writeFile(changelog, (await readFile(changelog, 'utf8')).replace(/^(?=## )/m, section));
  await git('commit', '--quiet', '--all', '--message', `release: the changes of ${NEXT}`);
  await run('npm', ['version', NEXT], { cwd: clone, ...LONG });
  assert.equal((await git('describe', '--exact-match')).trim(), `v${NEXT}`);
  return clone;
}

it('upgrades to the next version by its chart, and says so by its plugin', async () => {
  const clone = await makeNextVersion();
  const build = `import { ensureImages } from './cluster/tools/images.ts';
    console.log(JSON.stringify(await ensureImages(['agent', 'installer'])));`;
  const images = JSON.parse((await inCheckout(clone, build)).trim().split('\n').at(-1) ?? '') as Image[];
  const digests: string[] = [];
  for (const [index, image] of images.entries()) {
    await cluster.node('node-1').load(image);
    digests.push(await push(image.name, `${IMAGE}${['', '-installer'][index]}:${NEXT}`));
  }
  const [nextDigest = '', nextInstallerDigest = ''] = digests;
  const files = join(work, 'next-files');
  await writeFiles(clone, files, { digest: nextDigest, installerDigest: nextInstallerDigest });
  await rm(clone, { recursive: true }); // from here on there are the files alone
  await onRunner(
    `helm push 'gvisor-ready-${NEXT}.tgz' 'oci://${CHARTS}'
    helm upgrade gvisor-ready 'oci://${CHARTS}/gvisor-ready' --version ${NEXT} --namespace gvisor-ready`,
    files,
  );
  await inRelease(`kubectl -n gvisor-ready rollout status daemonset/gvisor-ready-agent --timeout=180s
    kubectl -n gvisor-ready rollout status deployment/gvisor-ready-fleet --timeout=180s`);
  await waitForNode(cluster, 'node-1', ({ ready }) => ready === 'true');
  const running = await inRelease(`kubectl -n gvisor-ready get pods -o jsonpath='{..imageID}'`);
  assert.deepEqual([...new Set(running.trim().split(/\s+/))], [`${IMAGE}@${nextDigest}`]);
  assert.match(await inRelease('helm test gvisor-ready -n gvisor-ready --logs 2>&1'), TEST_PASSED);
  await inRelease(`mkdir next-programs
    tar -xzf '${files}/kubectl-gvisor_ready-v${NEXT}.tar.gz' -C next-programs`);
  const asked = 'PATH="$PWD/next-programs:$PATH" kubectl gvisor-ready --version';
  assert.match(await inRelease(asked), new RegExp(NEXT.replaceAll('.', '\\.')));
});
