import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isVisible, NotVisible, visibleParts } from '../../../../lib/node/host/paths.ts';
import { reasonForError } from '../../../../lib/node/proof/outcome.ts';
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
  const PARTS = ['/etc', '/var/lib/rancher'];
  const table: readonly [string, boolean][] = [
    ['/', true],
    ['/etc', true],
    ['/etc/containerd/config.toml', true],
    ['/etcetera', false],
    ['/var', true],
    ['/var/lib', true],
    ['/var/lib/rancher/k3s', true],
    ['/var/lib/containerd', false],
    ['/opt/gvisor/runsc.toml', false],
  ];
  for (const [path, expected] of table) {
    it(`${path} is ${expected ? '' : 'not '}visible`, () => assert.equal(isVisible(path, PARTS), expected));
  }

  it('is true for all paths without parts', () => assert.equal(isVisible('/opt', undefined), true));
});

describe('NotVisible', () => {
  it('names the missing mount, and has its own reason', () => {
    const error = new NotVisible('/opt/gvisor/runsc.toml', '/host');
    const message = `Cannot see host path "/opt/gvisor/runsc.toml": it is outside of the agent's mounts; mount the host's "/opt" read-only at "/host/opt"`;
    assert.equal(error.message, message);
    assert.equal(reasonForError(error), 'NotVisible');
  });
});
