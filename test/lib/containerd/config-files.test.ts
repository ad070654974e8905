import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  isTemplate,
  readContainerdFiles,
  readUnimportedFiles,
} from '../../../lib/containerd/config-files.ts';
import { tempHost } from '../host/temp-host.ts';

const ROOT = '/etc/containerd/config.toml';

describe('readContainerdFiles', () => {
  it('follows imports breadth first, each once, relative to the importing file', async (t) => {
    const host = await tempHost(t, {
      [ROOT]: 'version = 3\nimports = ["a/a.toml", "config.toml", "b.toml", "none/*.toml"]\n',
      '/etc/containerd/a/a.toml': 'imports = ["c.toml", "../config.toml"]\n',
      '/etc/containerd/a/c.toml': 'imports = ["a.toml", "/etc/containerd//b.toml"]\n',
      '/etc/containerd/b.toml': '',
    });
    const { files, fault } = await readContainerdFiles(host, ROOT);
    assert.equal(fault, undefined);
    const paths = files.map(({ path }) => path.replace('/etc/containerd/', ''));
    assert.deepEqual(paths, ['config.toml', 'a/a.toml', 'b.toml', 'a/c.toml']);
  });

  const FAULTS: readonly (readonly [name: string, text: string, line: number, problem: RegExp])[] = [
    ['a missing import', 'version = 2\nimports = ["x"]\n', 2, /imports "\/c\/x", which does not exist/],
    ['an imported directory', 'imports = ["/etc"]\n', 1, /which is a directory/],
    ['a truncated file', 'version = 2\n[plugins."io.cont', 2, /not valid TOML/],
    ['a quoted version', '\nversion = "2"\n', 2, /version is not an integer/],
    ['a list of plugins', 'plugins = []\n', 1, /plugins is not a table/],
    ['a string of imports', 'imports = "a"\n', 1, /imports is not a list of strings/],
    ['a list of numbers', 'disabled_plugins = [1]\n', 1, /disabled_plugins is not a list of strings/],
  ];
  for (const [name, text, line, problem] of FAULTS) {
    it(`reports file and line of ${name}`, async (t) => {
      const host = await tempHost(t, { '/c/c.toml': text, '/etc/x': '' });
      const { fault } = await readContainerdFiles(host, '/c/c.toml');
      assert.deepEqual([fault?.file, fault?.line], ['/c/c.toml', line]);
      assert.match(fault?.problem ?? '', problem);
    });
  }

  it('reports a root file that is a directory', async (t) => {
    const host = await tempHost(t, { [`${ROOT}/x`]: '' });
    const { fault } = await readContainerdFiles(host, ROOT);
    assert.deepEqual(fault, { file: ROOT, line: 1, problem: 'is a directory' });
  });

  it('throws for too many files', async (t) => {
    const chain = Array.from({ length: 101 }, (_, nth) => [
      `/c/${nth}.toml`,
      nth < 100 ? `imports = ["${nth + 1}.toml"]\n` : '',
    ]);
    const many = await tempHost(t, Object.fromEntries(chain));
    await assert.rejects(readContainerdFiles(many, '/c/0.toml'), /more than 100 files/);
  });
});

describe('readUnimportedFiles', () => {
  const K3S = '/var/lib/rancher/k3s/agent/etc/containerd';
  const read = async (host: Awaited<ReturnType<typeof tempHost>>, root: string) => {
    const { files } = await readContainerdFiles(host, root);
    return readUnimportedFiles(host, root, files);
  };

  it('finds drop-ins with other extensions, templates, and the default files of other distributions', async (t) => {
    const host = await tempHost(t, {
      [`${K3S}/config.toml`]: 'version = 3\nimports = ["config-v3.toml.d/*.toml"]\n',
      [`${K3S}/config-v3.toml.d/runsc.conf`]: '',
      [`${K3S}/config-v3.toml.d/loaded.toml`]: '',
      [`${K3S}/config-v3.toml.tmpl`]: '{{ template "base" . }}\n[plugins.x]\na = "{{ .Home }}"\n',
      [`${K3S}/notes.txt`]: '',
      [`${K3S}/broken.toml`]: '[',
      [ROOT]: '',
    });
    const files = await read(host, `${K3S}/config.toml`);
    const found = files.map(({ path }) => [path.replace(K3S, ''), isTemplate(path)]);
    const dropIn = '/config-v3.toml.d/runsc.conf';
    assert.deepEqual(found, [
      ['/config-v3.toml.tmpl', true],
      [dropIn, false],
      [ROOT, false],
    ]);
    assert.equal(files[0]?.lines.find(['plugins', 'x', 'a']), 3);
  });

  it('reads no more than 100 files', async (t) => {
    const names = Array.from({ length: 101 }, (_, nth) => [`/etc/containerd/conf.d/${nth}`, '']);
    const host = await tempHost(t, Object.fromEntries(names));
    assert.equal((await read(host, ROOT)).length, 100);
  });
});
