import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TimeoutError } from '../../../agent/async.ts';
import { osId, readDistribution } from '../../../agent/containerd/distribution.ts';
import { hostOf } from '../checks/fake-node.ts';
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
    it(`takes ${fixture} for ${name}`, async () => {
      const distribution = await readDistribution(hostOf(fixture));
      assert.equal(distribution.name, name);
      assert.equal(distribution.containerdConfig, config);
      assert.equal(distribution.criSocket, socket);
      assert.ok(distribution.edit.length > 0);
    });
  }

  it('asks again where the disk is late, for what it finds holds as long as the agent runs', async () => {
    const host = hostOf('k3s-ready');
    let late = 3;
    const stat = host.stat.bind(host);
    host.stat = async (path) => {
      if (path.includes('k3s') && late-- > 0) throw new TimeoutError('no answer within 5 s');
      return stat(path);
    };
    assert.equal((await readDistribution(host, 1)).name, 'k3s');
  });

  it('guesses nothing where a disk never answers', async () => {
    const host = hostOf('k3s-ready');
    host.stat = () => Promise.reject(new TimeoutError('no answer within 5 s'));
    await assert.rejects(readDistribution(host, 1), /no answer within 5 s/);
  });

  it("takes a node for k3s' by its socket where the folders of k3s are not mounted", async (t) => {
    const host = await tempHost(t, {
      '/run/k3s/containerd/containerd.sock': '',
      '/run/containerd/containerd.sock': '',
      '/etc/containerd/config.toml': '',
    });
    assert.equal((await readDistribution(host)).criSocket, '/run/k3s/containerd/containerd.sock');
  });

  it('takes an empty tree for a plain containerd', async (t) => {
    assert.equal((await readDistribution(await tempHost(t))).name, 'containerd');
  });

  it('passes over the files of CRI-O where containerd has its socket', async (t) => {
    const host = await tempHost(t, { '/etc/crio/crio.conf': '', '/run/containerd/containerd.sock': '' });
    assert.equal((await readDistribution(host)).name, 'containerd');
  });

  it('reads the ID of an os-release text in every way of quoting', () => {
    assert.deepEqual(['NAME=x\nID=a\n', 'ID="b"', "ID='c'\r\n", 'VERSION_ID=1', ''].map(osId), [
      'a',
      'b',
      'c',
      '',
      '',
    ]);
  });
});
