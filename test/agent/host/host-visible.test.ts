import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { localSocket } from '../../../agent/host/host.ts';
import { NotVisible } from '../../../agent/host/paths.ts';
import { mountedHost } from './temp-host.ts';

describe('Host, in a pod that mounts some folders', () => {
  it('sees what is mounted, and what is absent there', async (t) => {
    const host = await mountedHost(t, ['etc', 'usr'], { '/etc/a': 'text', '/usr/bin/x': '' });
    assert.equal(await host.readText('/etc/a'), 'text');
    assert.equal(await host.readText('/etc/b'), undefined);
    assert.equal((await host.stat('/'))?.kind, 'directory');
  });

  it('says of what is not mounted that it is not visible, and what to mount', async (t) => {
    const host = await mountedHost(t, ['etc', 'usr'], { '/etc/a': '', '/var/of-the-image': '' });
    const asks = [
      host.stat('/opt/gvisor/runsc.toml'),
      host.readText('/opt/gvisor/runsc.toml'),
      host.readStart('/opt/gvisor/runsc.toml', 5),
      host.list('/opt/gvisor'),
      host.localPath('/opt/gvisor'),
      host.readLink('/opt/gvisor'),
      host.stat('/var/of-the-image'),
    ];
    for (const asked of asks) {
      const error = await asked.catch((cause: unknown) => cause);
      assert.ok(error instanceof NotVisible, String(error));
      assert.match(error.message, /mount the host's "\/(opt|var)" read-only at "\S+\/(opt|var)"$/);
    }
  });

  it('finds a socket behind a link, and says so where the link itself is not visible', async (t) => {
    const host = await mountedHost(t, ['etc', 'usr'], { '/usr/run': '', '/etc/run': { link: '../usr' } });
    assert.equal(await localSocket(host, '/etc/run/a.sock'), join(host.root, 'usr/a.sock'));
    assert.equal(await localSocket(host, '/etc/absent/a.sock'), join(host.root, 'etc/absent/a.sock'));
    await assert.rejects(localSocket(host, '/var/run/containerd/containerd.sock'), NotVisible);
  });

  it('says so too where a link leads out of what is mounted', async (t) => {
    const host = await mountedHost(t, ['etc', 'usr'], {
      '/etc/containerd/config.toml': { link: '/opt/containerd/config.toml' },
      '/etc/runsc': { link: '../usr/bin/runsc' },
      '/usr/bin/other': '',
    });
    await assert.rejects(
      host.stat('/etc/containerd/config.toml'),
      /Cannot see host path "\/opt\/containerd\//,
    );
    assert.equal(await host.stat('/etc/runsc'), undefined);
  });
});
