import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { TimeoutError } from '../../../agent/async.ts';
import { osId, readDistribution, rememberConfigPath } from '../../../agent/containerd/distribution.ts';
import { hostOf } from '../checks/fake-node.ts';
import { addProcess, type FakeProcess, removeProcess } from '../host/fake-process.ts';
import { tempHost } from '../host/temp-host.ts';

const PLAIN = ['/etc/containerd/config.toml', '/run/containerd/containerd.sock'] as const;

describe('readDistribution', () => {
  const NODES: readonly (readonly [fixture: string, name: string, config: string, socket: string])[] = [
    ['kubeadm-ready', 'containerd', ...PLAIN],
    ['debian-ready', 'containerd', ...PLAIN],
    [
      'k3s-ready',
      'k3s',
      '/var/lib/rancher/k3s/agent/etc/containerd/config.toml',
      '/run/k3s/containerd/containerd.sock',
    ],
    [
      'rke2-ready',
      'RKE2',
      '/var/lib/rancher/rke2/agent/etc/containerd/config.toml',
      '/run/k3s/containerd/containerd.sock',
    ],
    ['k0s-ready', 'k0s', '/etc/k0s/containerd.toml', '/run/k0s/containerd.sock'],
    [
      'microk8s-ready',
      'MicroK8s',
      '/var/snap/microk8s/current/args/containerd.toml',
      '/var/snap/microk8s/common/run/containerd.sock',
    ],
    ['talos-ready', 'Talos', '/etc/cri/containerd.toml', '/run/containerd/containerd.sock'],
    ['kind-test-handler', 'kind', ...PLAIN],
    ['eks-plain', 'EKS', ...PLAIN],
    ['aks-symlink', 'AKS', ...PLAIN],
    ['bottlerocket-plain', 'Bottlerocket', ...PLAIN],
    ['gke-plain', 'GKE', ...PLAIN],
    ['crio-unsupported', 'CRI-O', '/etc/containerd/config.toml', '/run/crio/crio.sock'],
  ];
  for (const [fixture, name, config, socket] of NODES) {
    it(`recognizes ${fixture} as ${name}`, async () => {
      const distribution = await readDistribution(hostOf(fixture));
      const { edit, ...rest } = distribution;
      assert.deepEqual(rest, { name, containerdConfig: config, criSocket: socket });
      assert.ok(edit.length > 0);
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

  it('recognizes k3s by its socket where its directories are not mounted', async (t) => {
    const host = await tempHost(t, {
      '/run/k3s/containerd/containerd.sock': '',
      '/run/containerd/containerd.sock': '',
      '/etc/containerd/config.toml': '',
    });
    assert.equal((await readDistribution(host)).criSocket, '/run/k3s/containerd/containerd.sock');
  });

  it('defaults to plain containerd', async (t) => {
    assert.equal((await readDistribution(await tempHost(t))).name, 'containerd');
  });

  it('ignores the files of CRI-O where containerd has its socket', async (t) => {
    const host = await tempHost(t, { '/etc/crio/crio.conf': '', '/run/containerd/containerd.sock': '' });
    assert.equal((await readDistribution(host)).name, 'containerd');
  });

  it('reads the ID of os-release, quoted or not', () => {
    assert.deepEqual(['NAME=x\nID=a\n', 'ID="b"', "ID='c'\r\n", 'VERSION_ID=1', ''].map(osId), [
      'a',
      'b',
      'c',
      '',
      '',
    ]);
  });
});

const DEFAULT = '/etc/containerd/config.toml';
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
    ['no flag', DEFAULT, '/usr/bin/containerd'],
    ['--config', '/usr/share/c.toml', '/usr/bin/containerd --config /usr/share/c.toml'],
    ['--config=', '/usr/share/c.toml', '/usr/bin/containerd --log-level info --config=/usr/share/c.toml'],
    ['-c', '/var/c.toml', 'containerd -c /var/c.toml -a /run/containerd/containerd.sock'],
    ['-c=', '/var/c.toml', 'containerd -c=/var/c.toml'],
    ['a relative path', DEFAULT, 'containerd -c c.toml'],
    ['a flag without its value', DEFAULT, 'containerd --config'],
    ['a containerd under another name', '/var/c.toml', '/opt/bin/anything -c /var/c.toml'],
  ];
  for (const [name, expected, command] of COMMANDS) {
    it(`is ${expected} for ${name}`, async (t) => {
      const { configPath } = await nodeWith(t, { [PID]: argv(command) });
      assert.equal(await configPath(), expected);
    });
  }

  it('ignores other processes named containerd', async (t) => {
    const forged = argv('containerd --config /tmp/forged.toml');
    const { configPath } = await nodeWith(t, { [PID]: argv('containerd'), 8: forged, 9: forged });
    assert.equal(await configPath(), DEFAULT);
  });

  it('ignores a process in a nested PID namespace', async (t) => {
    for (const namespacedPids of [[PID, 1], [PID, PID], [8], [Number.NaN]]) {
      const forged = { ...argv('containerd --config /tmp/forged.toml'), namespacedPids };
      const { configPath } = await nodeWith(t, { [PID]: forged });
      assert.equal(await configPath(), DEFAULT, `${namespacedPids}`);
    }
  });

  it('prefers the path in the settings', async (t) => {
    const process = { [PID]: argv('containerd -c /var/c.toml') };
    const { configPath, pids } = await nodeWith(t, process, { named: '/named.toml' });
    assert.deepEqual([await configPath(), pids], ['/named.toml', []]);
  });

  it('caches the path once containerd has reported its PID', async (t) => {
    const process = { [PID]: argv('containerd -c /var/c.toml') };
    const { configPath, client, pids, host } = await nodeWith(t, process, { pid: -1 });
    assert.equal(await configPath(), DEFAULT);
    client.pid = 0;
    assert.equal(await configPath(), DEFAULT);
    client.pid = PID;
    assert.equal(await configPath(), '/var/c.toml');
    removeProcess(host.root, PID);
    assert.equal(await configPath(), '/var/c.toml');
    assert.deepEqual(pids, [-1, 0, PID]);
  });

  it("defaults to the distribution's path when the process has ended", async (t) => {
    const { configPath, pids } = await nodeWith(t, {});
    assert.deepEqual([await configPath(), await configPath()], [DEFAULT, DEFAULT]);
    assert.deepEqual(pids, [PID, PID]);
  });
});
