import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'smol-toml';
import type { Cluster } from '../../cluster/cluster.ts';
import { MACHINE_PATH } from '../../cluster/machine/machine.ts';
import { CONTAINERD_CONFIG, containerdConfig, PAUSE_IMAGE } from '../../cluster/node/config.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { deployAgent, viewNodes } from '../../cluster/story.ts';
import { ensureTools } from '../../cluster/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, run, runAll } from '../../hack/run.ts';

const NAME = 'kind';
const RELEASE = '20260223.0';
/** Named like kind's nodes, without gVisor, which the script installs. */
const NODES = ['kind-control-plane', 'kind-worker', 'kind-worker2'].map(
  (name) => ({ name, containerd: '2', gvisor: 'none' }) as const,
);

let cluster: Cluster;
let dir = '';
before(
  async () => {
    dir = await mkdtemp(join(tmpdir(), 'kind-'));
    cluster = await startCluster({ name: NAME, nodes: NODES, images: ['agent'] });
  },
  { timeout: 600_000 },
);
after(async () => {
  await removeCluster(NAME);
  await rm(dir, { recursive: true, force: true });
});

/** The containerd configuration of kind's node image, from the sources of the same kind. */
async function kindConfig(): Promise<string> {
  const cwd = join(REPO, 'cluster/tools/kind');
  const module = await run('go', ['list', '-m', '-f', '{{.Dir}}', 'sigs.k8s.io/kind'], { cwd });
  return readFile(join(module.trim(), 'images/base/files/etc/containerd/config.toml'), 'utf8');
}

/** Gives a node the relevant files of kind's image, with a local pause image and cgroups without systemd. */
async function prepareNode(node: ClusterNode, config: string): Promise<void> {
  const fitted = config
    .replace(/sandbox_image = .*/, `sandbox_image = "${PAUSE_IMAGE}"`)
    .replace('restrict_oom_score_adj = false', 'restrict_oom_score_adj = true')
    .replaceAll('SystemdCgroup = true', 'SystemdCgroup = false');
  await node.write(CONTAINERD_CONFIG, fitted);
  await node.write('/etc/containerd/cri-base.json', await node.machine.run(['ctr', 'oci', 'spec']));
  await node.write('/kind/version', 'v1.36.3');
  for (const manifest of ['default-cni', 'default-storage'])
    await node.write(`/kind/manifests/${manifest}.yaml`, '');
  await node.write('/etc/kubernetes/admin.conf', await readFile(cluster.kubeconfig, 'utf8'), 0o600);
  const enter = ['nsenter', ...node.machine.enter('env', `PATH=${MACHINE_PATH}`, 'HOME=/root')];
  await writeFile(join(dir, `${node.name}.enter`), `#!/bin/sh\nexec ${enter.join(' ')} "$@"\n`, {
    mode: 0o755,
  });
}

/** Creates a mirror of gVisor's storage with one release, and an additional file in its gvisor-bin; returns its URL. */
async function publish(): Promise<string> {
  const tools = (await ensureTools(['gvisor'])).gvisor;
  const directory = join(dir, 'mirror', RELEASE, (await run('uname', ['-m'])).trim());
  await mkdir(join(directory, 'gvisor-bin'), { recursive: true });
  await symlink(join(tools, 'runsc'), join(directory, 'runsc'));
  await symlink(join(tools, 'shim'), join(directory, 'containerd-shim-runsc-v1'));
  await writeFile(join(directory, 'gvisor-bin/sidecar'), 'a sidecar');
  const files = ['runsc', 'containerd-shim-runsc-v1', 'gvisor-bin'];
  await run('tar', ['-cjhf', 'gvisor.tar.bz2', ...files], {
    cwd: directory,
    timeoutMs: 300_000,
    env: { ...process.env, BZIP2: '-1' },
  });
  const sum = await run('sha512sum', ['gvisor.tar.bz2'], { cwd: directory });
  await writeFile(join(directory, 'gvisor.tar.bz2.sha512'), sum);
  return `file://${join(dir, 'mirror')}`;
}

async function runScript(): Promise<{ code: number; stdout: string; stderr: string }> {
  await cp(join(REPO, 'test/nightly/docker-of-nodes.sh'), join(dir, 'docker'));
  const kind = (await ensureTools(['kind'])).kind;
  const args = ['--name', NAME, '--release', RELEASE, '--mirror', await publish()];
  return runAll(join(REPO, 'hack/kind-with-gvisor.sh'), args, {
    timeoutMs: 240_000,
    env: {
      PATH: `${dir}:${kind}:${process.env.PATH}`,
      HOME: dir,
      KUBECONFIG: join(dir, 'kubeconfig'),
      DOCKER_NODES: dir,
      API_PORT: String(cluster.port),
    },
  });
}

type Config = {
  readonly version: number;
  readonly plugins: Readonly<
    Record<string, { readonly containerd?: { readonly runtimes: Readonly<Record<string, Runtime>> } }>
  >;
};
type Runtime = { readonly runtime_type: string; readonly options?: Readonly<Record<string, unknown>> };

describe('kind-with-gvisor.sh with the real kind, whose containers are nodes of cluster/', () => {
  it('installs gVisor on nodes with configurations of version 2 and 3', {
    timeout: patient(500_000),
  }, async () => {
    const own = await kindConfig();
    assert.match(own, /^version = 2$/m, 'the version that the first patch is for');
    const spec = cluster.node('kind-worker2').spec;
    for (const node of cluster.nodes()) {
      await prepareNode(node, node.name === 'kind-worker2' ? containerdConfig(spec) : own);
    }
    const { code, stdout, stderr } = await runScript();
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^gvisor\.tar\.bz2: OK$/m);
    assert.equal([...stdout.matchAll(/^runsc version release-20260223\.0$/gm)].length, 3, stdout);

    for (const node of cluster.nodes()) {
      const merged = parse(await readFile(node.path(CONTAINERD_CONFIG), 'utf8')) as Config;
      const [version, plugin, others] =
        node.name === 'kind-worker2'
          ? [3, 'io.containerd.cri.v1.runtime', ['runc']]
          : [2, 'io.containerd.grpc.v1.cri', ['runc', 'test-handler']];
      assert.equal(merged.version, version);
      const runtimes = merged.plugins[plugin]?.containerd?.runtimes ?? {};
      assert.deepEqual(Object.keys(runtimes).sort(), [...others, 'runsc'].sort());
      assert.equal(runtimes.runsc?.options?.ConfigPath, '/etc/containerd/runsc.toml');
      assert.equal(
        await readFile(node.path(`/usr/local/lib/gvisor/${RELEASE}/gvisor-bin/sidecar`), 'utf8'),
        'a sidecar',
      );
      await node.restart('containerd');
    }

    await deployAgent(cluster, join(REPO, 'manifests/base'));
    const views = await viewNodes(cluster);
    assert.deepEqual(
      views.map(({ name, ready, reason }) => [name, ready, reason]),
      NODES.map(({ name }) => [name, 'true', 'SandboxProven']),
      JSON.stringify(views),
    );
    const kubectl = cluster.kubectlCommand([]).command;
    const contexts = ['config', 'get-contexts', '-o', 'name'];
    const names = await run(kubectl, ['--kubeconfig', join(dir, 'kubeconfig'), ...contexts]);
    assert.equal(names.trim(), 'kind-kind');
  });
});
