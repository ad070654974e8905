import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isVisible, visibleParts } from '../../../lib/host/paths.ts';
import { tempHost } from './temp-host.ts';

const line = (point: string) =>
  `36 35 98:0 /mnt1 ${point} ro,noatime master:1 - ext4 /dev/root ro,errors=continue`;
/** Mounts of a pod as the DaemonSet has them. */
const POD = [
  '/',
  '/proc',
  '/host/proc',
  '/host/etc',
  '/host/usr',
  '/host/var/lib/rancher',
  '/host/with\\040blank',
]
  .map(line)
  .join('\n');

describe('visibleParts', () => {
  const parts = async (t: Parameters<typeof tempHost>[0], text: string, root = '/host') => {
    const { root: directory } = await tempHost(t, { '/mountinfo': text });
    return visibleParts(root, join(directory, 'mountinfo'));
  };

  it('are the mounts below the root, as host paths', async (t) => {
    assert.deepEqual(await parts(t, POD), ['/proc', '/etc', '/usr', '/var/lib/rancher', '/with blank']);
  });

  it('are everything if the root is a mount point, or has none below it', async (t) => {
    assert.equal(await parts(t, `${POD}\n${line('/host')}`), undefined);
    assert.equal(await parts(t, POD, '/hos'), undefined);
    assert.equal(await parts(t, POD, '/'), undefined);
    assert.equal(await parts(t, ''), undefined);
  });

  it('are everything if mounts cannot be read', async () => {
    assert.equal(await visibleParts('/host', '/absent-everywhere'), undefined);
  });
});

describe('isVisible', () => {
  const visible = ['/', '/etc', '/etc/containerd/config.toml', '/var', '/var/lib', '/var/lib/rancher/k3s'];
  const hidden = ['/etcetera', '/var/lib/containerd', '/opt/gvisor/runsc.toml'];
  const paths = [...visible, ...hidden];

  it('is true within a part and for its ancestors', () => {
    const parts = ['/etc', '/var/lib/rancher'];
    assert.deepEqual(
      paths.filter((path) => isVisible(path, parts)),
      visible,
    );
  });

  it('is true for all paths without parts', () => {
    assert.ok(paths.every((path) => isVisible(path, undefined)));
  });
});
