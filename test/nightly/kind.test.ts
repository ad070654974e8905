import assert from 'node:assert/strict';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'smol-toml';
import { deployAgent } from '../../cluster/labels.ts';
import { MACHINE_PATH, Machine } from '../../cluster/machine/machine.ts';
import { gvisorTable } from '../../cluster/node/config.ts';
import { CLUSTERS } from '../../cluster/plan/clusters.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { ensureImage } from '../../cluster/tools/images.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, run } from '../../hack/run.ts';
import { ensureKindImage } from './kind-node-image.ts';

const NAME = 'kind';
const NODES = ['kind-control-plane', 'kind-worker', 'kind-worker2'];
const IMAGE = 'localhost/kind-node:1';
const RELEASE = '20260223.0';
const PODMAN = ['podman', 'netavark', 'aardvark-dns'];

/** Has podman and a network of its own: what kind leaves behind ends with it. */
const host = new Machine('host', join(CLUSTERS, NAME, 'host'));
let path = '';
const inHost = (command: readonly string[], timeoutMs?: number) =>
  host.run(command, {
    env: { PATH: path, HOME: '/root', KUBECONFIG: '/root/kubeconfig', KIND_EXPERIMENTAL_PROVIDER: 'podman' },
    timeoutMs,
  });

before(
  async () => {
    const { kind, kubernetes, runc } = await ensureTools(['kind', 'kubernetes', 'runc']);
    path = `${kind}:${kubernetes}:${MACHINE_PATH}`;
    const { node, pods } = await ensureKindImage();
    await removeCluster(NAME);
    await host.start();
    await installPodman(runc, pods);
    await inHost(
      ['podman', 'import', '--change', 'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]', node, IMAGE],
      300_000,
    );
  },
  { timeout: patient(1_200_000) },
);
after(() => removeCluster(NAME));

/**
 * Installs it over this machine's network into the files of {@link host}. Its containers have /kind/pods.tar, and limits
 * that need no CAP_SYS_RESOURCE. kind mounts /lib/modules, which not every machine has.
 */
async function installPodman(runc: string, pods: string): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args: string[]) =>
    run('nsenter', [`--target=${host.pid()}`, '--mount', '--', 'apt-get', '-q', '-y', ...args], {
      env,
      timeoutMs: 300_000,
    });
  await apt('update');
  await apt('install', '--no-install-recommends', ...PODMAN);
  const containers = `[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
volumes = ["${pods}:/kind/pods.tar:ro"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "${runc}/runc"
`;
  await writeFile(host.path('/etc/containers/containers.conf'), containers);
  const storage =
    '[storage]\ndriver = "overlay"\ngraphroot = "/var/lib/containerd"\nrunroot = "/run/containers"\n';
  await writeFile(host.path('/etc/containers/storage.conf'), storage);
  await mkdir(host.path('/lib/modules'), { recursive: true });
}

/** Creates a mirror of gVisor's storage with one release, and an additional file in its gvisor-bin; returns its URL. */
async function publish(): Promise<string> {
  const tools = (await ensureTools(['gvisor'])).gvisor;
  const cwd = host.path(`/srv/${RELEASE}/${(await run('uname', ['-m'])).trim()}`);
  await mkdir(join(cwd, 'gvisor-bin'), { recursive: true });
  await symlink(join(tools, 'runsc'), join(cwd, 'runsc'));
  await symlink(join(tools, 'shim'), join(cwd, 'containerd-shim-runsc-v1'));
  await writeFile(join(cwd, 'gvisor-bin/sidecar'), 'a sidecar');
  const files = ['runsc', 'containerd-shim-runsc-v1', 'gvisor-bin'];
  const env = { ...process.env, BZIP2: '-1' };
  await run('tar', ['-cjhf', 'gvisor.tar.bz2', ...files], { cwd, env, timeoutMs: 300_000 });
  await writeFile(join(cwd, 'gvisor.tar.bz2.sha512'), await run('sha512sum', ['gvisor.tar.bz2'], { cwd }));
  return 'file:///srv';
}

describe('kind-with-gvisor.sh with kind and podman', () => {
  it('makes a cluster whose nodes get the label, by the commands of docs/kind.md', {
    timeout: patient(900_000),
  }, async () => {
    const options = ['--image', IMAGE, '--release', RELEASE, '--mirror', await publish()];
    const said = await inHost([join(REPO, 'hack/kind-with-gvisor.sh'), '--name', NAME, ...options], 600_000);
    assert.match(said, /^gvisor\.tar\.bz2: OK$/m);
    assert.equal([...said.matchAll(/^runsc version release-20260223\.0$/gm)].length, NODES.length, said);
    const sidecar = `/usr/local/lib/gvisor/${RELEASE}/gvisor-bin/sidecar`;
    for (const node of NODES)
      assert.equal(await inHost(['podman', 'exec', node, 'cat', sidecar]), 'a sidecar');

    const { archive } = await ensureImage('agent');
    await inHost(['kind', 'load', 'image-archive', '--name', NAME, archive], 300_000);
    const kubectl = (args: readonly string[]) => inHost(['kubectl', '--context', 'kind-kind', ...args]);
    const get = (resource: string) => kubectl(['get', '--raw', resource]);
    const nodes = await deployAgent({ kubectl, get }, join(REPO, 'manifests/base'));
    assert.deepEqual(
      nodes.map(({ name, ready, reason }) => [name, ready, reason]),
      NODES.map((name) => [name, 'true', 'SandboxProven']),
      JSON.stringify(nodes),
    );
  });

  it('patches a configuration of version 3 as clusters of cluster/ have it', async () => {
    const config = await readFile(join(REPO, 'hack/kind-with-gvisor.yaml'), 'utf8');
    const [patch = ''] = /version = 3[^|]*/.exec(config) ?? [];
    const spec = {
      name: 'node',
      index: 1,
      containerd: '2',
      gvisor: 'current',
      machine: 'namespaces',
    } as const;
    assert.deepEqual(parse(patch), parse(`version = 3\n${gvisorTable(spec)}`));
  });
});
