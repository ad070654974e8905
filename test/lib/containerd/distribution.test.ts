import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { TimeoutError } from '../../../lib/base/async.ts';
import { readDistribution, rememberConfigPath } from '../../../lib/containerd/distribution.ts';
import { type HostName, hostOf } from '../../agent/checks/fixture-hosts.ts';
import { addProcess, type FakeProcess, removeProcess } from '../host/fake-process.ts';
import { tempHost } from '../host/temp-host.ts';

const [CONFIG, SOCKET] = ['/etc/containerd/config.toml', '/run/containerd/containerd.sock'];
const [RANCHER, RANCHER_SOCKET] = ['agent/etc/containerd/config.toml', '/run/k3s/containerd/containerd.sock'];
const SNAP_CONFIG = '/var/snap/microk8s/current/args/containerd.toml';

describe('readDistribution', () => {
  const NODES: readonly (readonly [fixture: HostName, name: string, config?: string, socket?: string])[] = [
    ['kubeadm-ready', 'containerd'],
    ['debian-ready', 'containerd'],
    ['k3s-ready', 'k3s', `/var/lib/rancher/k3s/${RANCHER}`, RANCHER_SOCKET],
    ['rke2-ready', 'RKE2', `/var/lib/rancher/rke2/${RANCHER}`, RANCHER_SOCKET],
    ['k0s-ready', 'k0s', '/etc/k0s/containerd.toml', '/run/k0s/containerd.sock'],
    ['microk8s-ready', 'MicroK8s', SNAP_CONFIG, '/var/snap/microk8s/common/run/containerd.sock'],
    ['talos-ready', 'Talos', '/etc/cri/containerd.toml'],
    ['kind-test-handler', 'kind'],
    ['eks-plain', 'EKS'],
    ['aks-symlink', 'AKS'],
    ['bottlerocket-plain', 'Bottlerocket'],
    ['gke-plain', 'GKE'],
    ['crio-unsupported', 'CRI-O', CONFIG, '/run/crio/crio.sock'],
  ];
  for (const [fixture, name, containerdConfig = CONFIG, criSocket = SOCKET] of NODES) {
    it(`recognizes ${fixture} as ${name}`, async () => {
      const expected = { name, containerdConfig, criSocket };
      assert.partialDeepStrictEqual(await readDistribution(hostOf(fixture)), expected);
    });
  }

  it('retries after a timeout', async () => {
    const host = hostOf('k3s-ready');
    let late = 3;
    const stat = host.stat.bind(host);
    host.stat = async (path) => {
      if (path.includes('k3s') && late-- > 0) throw new TimeoutError('no answer within 5 s');
      return stat(path);
    };
    assert.equal((await readDistribution(host, 1)).name, 'k3s');
  });

  it('rejects when a disk never responds', async () => {
    const host = hostOf('k3s-ready');
    host.stat = () => Promise.reject(new TimeoutError('no answer within 5 s'));
    await assert.rejects(readDistribution(host, 1), /no answer within 5 s/);
  });

  for (const [what, files, name] of [
    ['k3s by its socket if its directories are not mounted', [RANCHER_SOCKET, SOCKET, CONFIG], 'k3s'],
    ['plain containerd by default', [], 'containerd'],
    ['containerd by its socket despite the files of CRI-O', ['/etc/crio/crio.conf', SOCKET], 'containerd'],
  ] as const)
    it(`recognizes ${what}`, async (t) => {
      const host = await tempHost(t, Object.fromEntries(files.map((file) => [file, ''])));
      assert.equal((await readDistribution(host)).name, name);
    });

  it('reads the ID of os-release, quoted or not', async (t) => {
    for (const text of ['NAME=x\nID=talos\n', 'ID="talos"', "ID='talos'\r\n", 'VERSION_ID=talos']) {
      const { name } = await readDistribution(await tempHost(t, { '/etc/os-release': text }));
      assert.equal(name, text.startsWith('VERSION') ? 'containerd' : 'Talos', text);
    }
  });
});

const PID = 7;

/** A host with these processes, and a containerd that reports `pid` as its own. */
async function nodeWith(
  t: TestContext,
  processes: Readonly<Record<number, FakeProcess>>,
  { named, pid = PID }: { readonly named?: string; readonly pid?: number } = {},
) {
  const host = await tempHost(t);
  for (const [each, process] of Object.entries(processes)) addProcess(host.root, Number(each), process);
  const pids: number[] = [];
  const client = {
    pid,
    serverPid: async () => {
      pids.push(client.pid);
      if (client.pid < 0) throw new Error('containerd does not respond');
      return client.pid;
    },
  };
  const configPath = rememberConfigPath({ host, client, distribution: await readDistribution(host), named });
  return { host, client, pids, configPath };
}

const argv = (command: string): FakeProcess => ({ argv: command.split(' ') });

describe('rememberConfigPath', () => {
  const COMMANDS: readonly [string, expected: string, command: string][] = [
    ['no flag', CONFIG, '/usr/bin/containerd'],
    ['--config', '/usr/share/c.toml', '/usr/bin/containerd --config /usr/share/c.toml'],
    ['--config=', '/usr/share/c.toml', '/usr/bin/containerd --log-level info --config=/usr/share/c.toml'],
    ['-c', '/var/c.toml', 'containerd -c /var/c.toml -a /run/containerd/containerd.sock'],
    ['-c=', '/var/c.toml', 'containerd -c=/var/c.toml'],
    ['a relative path', CONFIG, 'containerd -c c.toml'],
    ['a flag without its value', CONFIG, 'containerd --config'],
    ['a containerd under another name', '/var/c.toml', '/opt/bin/anything -c /var/c.toml'],
  ];
  for (const [name, expected, command] of COMMANDS) {
    it(`is ${expected} for ${name}`, async (t) => {
      const { configPath } = await nodeWith(t, { [PID]: argv(command) });
      assert.equal(await configPath(), expected);
    });
  }

  it('ignores a process in a nested PID namespace, and others named containerd', async (t) => {
    const forged = argv('containerd --config /tmp/forged.toml');
    for (const namespacedPids of [[PID, 1], [PID, PID], [8], [Number.NaN]]) {
      const { configPath } = await nodeWith(t, { [PID]: { ...forged, namespacedPids }, 8: forged });
      assert.equal(await configPath(), CONFIG, `${namespacedPids}`);
    }
  });

  it('prefers the path in the settings', async (t) => {
    const process = { [PID]: argv('containerd -c /var/c.toml') };
    const { configPath, pids } = await nodeWith(t, process, { named: '/named.toml' });
    assert.deepEqual([await configPath(), pids], ['/named.toml', []]);
  });

  it('caches the path once containerd has reported its PID', async (t) => {
    const { configPath, client, pids, host } = await nodeWith(t, {}, { pid: -1 });
    for (const pid of [-1, 0, PID, PID]) {
      client.pid = pid;
      assert.equal(await configPath(), CONFIG, `${pid}`);
    }
    addProcess(host.root, PID, argv('containerd -c /var/c.toml'));
    assert.equal(await configPath(), '/var/c.toml');
    removeProcess(host.root, PID);
    assert.equal(await configPath(), '/var/c.toml');
    assert.deepEqual(pids, [-1, 0, PID, PID, PID]);
  });
});
