import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readContainerdConfig } from '../../../agent/containerd/config.ts';
import { tempHost } from '../host/temp-host.ts';

const ROOT = '/etc/containerd/config.toml';

describe('readContainerdFiles', () => {
  it('follows imports breadth first, each once, from the directory of the importing file', async (t) => {
    const host = await tempHost(t, {
      [ROOT]: 'version = 3\nimports = ["a/a.toml", "config.toml", "b.toml", "none/*.toml"]\n',
      '/etc/containerd/a/a.toml': 'imports = ["c.toml", "../config.toml"]\n',
      '/etc/containerd/a/c.toml': 'imports = ["a.toml", "/etc/containerd//b.toml"]\n',
      '/etc/containerd/b.toml': '',
    });
    const { files, fault } = await readContainerdConfig(host, ROOT, 'v2.2.2');
    assert.equal(fault, undefined);
    assert.deepEqual(files, [
      ROOT,
      '/etc/containerd/a/a.toml',
      '/etc/containerd/b.toml',
      '/etc/containerd/a/c.toml',
    ]);
  });

  it('takes what containerd would refuse for a fault with a file and a line', async (t) => {
    const files = {
      missing: 'version = 2\nimports = ["gone.toml"]\n',
      directory: 'imports = ["/etc"]\n',
      truncated: 'version = 2\n[plugins."io.cont',
    };
    const host = await tempHost(
      t,
      Object.fromEntries(Object.entries(files).map(([name, text]) => [`/c/${name}.toml`, text])),
    );
    for (const [name, line] of [
      ['missing', 2],
      ['directory', 1],
      ['truncated', 2],
    ] as const) {
      const { fault, runtimes } = await readContainerdConfig(host, `/c/${name}.toml`, '1.7.34');
      assert.equal(fault?.file, `/c/${name}.toml`);
      assert.equal(fault.line, line, name);
      assert.equal(runtimes.size, 0);
    }
  });

  it('throws where it cannot look: a file too large, and too many files', async (t) => {
    const big = await tempHost(t, { [ROOT]: `# ${'x'.repeat(2 ** 20)}` });
    const many = Object.fromEntries(
      Array.from({ length: 101 }, (_, index) => [`/c/${index}.toml`, `imports = ["${index + 1}.toml"]\n`]),
    );
    await assert.rejects(
      readContainerdConfig(big, ROOT),
      /"\/etc\/containerd\/config.toml": it is larger than/,
    );
    await assert.rejects(readContainerdConfig(await tempHost(t, many), '/c/0.toml'), /more than 100 files/);
    const wildcard = await tempHost(t, { [ROOT]: 'imports = ["[ab]*.toml"]\n' });
    await assert.rejects(readContainerdConfig(wildcard, ROOT), /"\*" is the only wildcard supported/);
  });
});
