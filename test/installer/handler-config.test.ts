import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { foundIn, holds, planEdits, writeEdits } from '../../installer/edits.ts';
import { planHandler } from '../../installer/handler-config.ts';
import type { Written } from '../../installer/journal.ts';
import { generationAt } from '../../installer/release.ts';
import { foreignText, planInPlace } from '../../installer/take-over.ts';
import { readContainerdConfig } from '../../lib/node/containerd/config.ts';
import { parseToml } from '../../lib/node/containerd/toml.ts';
import { Host } from '../../lib/node/host/host.ts';
import { tempHost } from '../lib/node/host/temp-host.ts';

const NEW = generationAt('/usr/local/lib/gvisor/release-20260223.0-0123456789ab');
const NEWER = generationAt('/usr/local/lib/gvisor/release-20260831.0-ba9876543210');
const ROOT = '/etc/containerd/config.toml';
const RUNC_V2 = `version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n  runtime_type = "io.containerd.runc.v2"\n`;

/** containerd's own settings, with more than one of runc. */
const DUMP = parseToml(
  `${RUNC_V2}  sandbox_mode = "podsandbox"\n  pod_annotations = []\n  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\n    SystemdCgroup = false\n`,
  'dump',
);

/** A host with these files, and a plan for it. */
async function hostWith(t: TestContext, files: Readonly<Record<string, string>>, release: string) {
  const { root } = await tempHost(t, files);
  await mkdir(join(root, '/etc/containerd/conf.d'), { recursive: true });
  const config = async () => readContainerdConfig(new Host(root), ROOT, release);
  const plan = async (generation = NEW, handler = 'runsc') => {
    const place = { host: new Host(root), rules: (await config()).rules, root: ROOT, dump: DUMP };
    return planHandler(place, handler, generation);
  };
  return { root, config, plan };
}

async function replaceText(
  node: ReturnType<typeof nodeOf>,
  old: Written | undefined,
  next: Written | undefined,
): Promise<void> {
  await writeEdits(node.root, await planEdits(node, old, next));
}

const nodeOf = (root: string, handler = 'runsc') => ({ root, handler });

/** Configurations as they are found, and the file that the handler is written to. */
const CASES = {
  'containerd 2.4, version 3, a directory of drop-ins': [
    'v2.4.2',
    '/etc/containerd/conf.d/gvisor-ready-runsc.toml',
    { [ROOT]: 'version = 3\nimports = ["/etc/containerd/conf.d/*.toml"]\n' },
  ],
  'containerd 2.4, version 2, drop-ins by a relative path': [
    'v2.4.2',
    '/etc/containerd/conf.d/gvisor-ready-runsc.toml',
    { [ROOT]: `imports = ["conf.d/*.toml"]\n${RUNC_V2}` },
  ],
  'containerd 2.1, version 2, a directory of drop-ins': [
    'v2.1.5',
    '/etc/containerd/conf.d/gvisor-ready-runsc.toml',
    { [ROOT]: `imports = ["/etc/containerd/conf.d/*.toml"]\n${RUNC_V2}` },
  ],
  'containerd 2.4, version 4, no imports': ['v2.4.2', ROOT, { [ROOT]: 'version = 4\n' }],
  'containerd 2.1, version 3, no line end at the end': [
    'v2.1.5',
    ROOT,
    { [ROOT]: 'version = 3\nroot = "/var/lib/containerd"' },
  ],
  'containerd 2.4 without a file': ['v2.4.2', ROOT, {}],
  'containerd 1.7 without a file': ['1.7.34', ROOT, {}],
  'containerd 1.7, version 2': ['1.7.34', ROOT, { [ROOT]: RUNC_V2 }],
  'containerd 1.7, version 2, no table of runtimes': ['1.7.34', ROOT, { [ROOT]: 'version = 2\n' }],
  'containerd 1.7, the section in an imported file': [
    '1.7.34',
    '/etc/containerd/conf.d/50.toml',
    {
      [ROOT]: 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n',
      '/etc/containerd/conf.d/50.toml': RUNC_V2,
    },
  ],
} as const;

describe('planHandler and replaceText', () => {
  for (const [name, [release, file, files]] of Object.entries(CASES))
    for (const last of ['runsc', 'runsc-kvm'])
      it(`add, replace and remove two handlers, ${last} last: ${name}`, async (t) => {
        const { root, config, plan } = await hostWith(t, files, release);
        const original = await readFile(join(root, file), 'utf8').catch(() => undefined);
        const shims = async () => {
          const { runtimes, fault } = await config();
          assert.deepEqual([fault, runtimes.get('runc')?.runtimeType], [undefined, 'io.containerd.runc.v2']);
          return ['runsc', 'runsc-kvm'].map((handler) => runtimes.get(handler)?.runtimePath);
        };
        const texts = new Map<string, Written>();
        const write = async (handler: string, generation: typeof NEW | undefined) => {
          const next = generation && (await plan(generation, handler));
          await replaceText(nodeOf(root, handler), texts.get(handler), next);
          if (next !== undefined) texts.set(handler, next);
        };
        await write('runsc', NEW);
        const added = texts.get('runsc');
        assert.equal(added?.file, file);
        const { runtimeType, options } = (await config()).runtimes.get('runsc') ?? {};
        assert.deepEqual([runtimeType, options?.ConfigPath], ['io.containerd.runsc.v1', NEW.config]);
        await write('runsc-kvm', NEW);
        assert.deepEqual(await shims(), [NEW.shim, NEW.shim]);
        await write('runsc', NEWER);
        assert.deepEqual(await shims(), [NEWER.shim, NEW.shim]);
        assert.equal(await holds(root, added), false);
        await write('runsc-kvm', NEWER);
        const first = last === 'runsc' ? 'runsc-kvm' : 'runsc';
        await write(first, undefined);
        const left = last === 'runsc' ? [NEWER.shim, undefined] : [undefined, NEWER.shim];
        assert.deepEqual(await shims(), left);
        assert.equal(await foundIn(nodeOf(root, first), file), undefined);
        await write(last, NEW);
        await write(last, undefined);
        assert.equal(await readFile(join(root, file), 'utf8').catch(() => undefined), original);
      });

  it('keep the mode and the owner of the file', async (t) => {
    const { root, plan } = await hostWith(t, { [ROOT]: RUNC_V2 }, '1.7.34');
    await chmod(join(root, ROOT), 0o600);
    const before = await stat(join(root, ROOT));
    await replaceText(nodeOf(root), undefined, await plan());
    const { mode, uid, gid } = await stat(join(root, ROOT));
    assert.deepEqual([mode, uid, gid], [before.mode, before.uid, before.gid]);
  });

  it('refuse a symbolic link, which stays', async (t) => {
    const { root, plan } = await hostWith(t, { '/etc/containerd/real.toml': RUNC_V2 }, '1.7.34');
    await symlink('real.toml', join(root, ROOT));
    await assert.rejects(replaceText(nodeOf(root), undefined, await plan()), /is a symbolic link/);
    assert.equal(await readlink(join(root, ROOT)), 'real.toml');
  });

  for (const [name, version, release] of [
    ['containerd 1.7', 'version = 2\n', '1.7.34'],
    ['containerd 2, version 3', 'version = 3\n', 'v2.4.2'],
    ['containerd 2, no version', '', 'v2.4.2'],
  ] as const)
    it(`take over another owner's handler, and give it back: ${name}`, async (t) => {
      const section =
        version === 'version = 2\n' ? '"io.containerd.grpc.v1.cri"' : "'io.containerd.cri.v1.runtime'";
      const table = (handler: string) => `[plugins.${section}.containerd.runtimes.${handler}]`;
      const runc = `${table('runc')}\n  runtime_type = "io.containerd.runc.v2"\n`;
      const foreign = `${table('runsc')} # ours\n  runtime_type = "io.containerd.runsc.v1"\n`;
      const options = `  [plugins.${section}.containerd.runtimes.runsc.options]\n    ConfigPath = "/etc/x.toml"`;
      for (const text of [
        `${version}${foreign}${options}\n\n# about runc\n${runc}`,
        `${version}${runc}\n${foreign}${options}`,
        `${version}${runc}${foreign}`,
      ]) {
        const { root, config } = await hostWith(t, { [ROOT]: text }, release);
        const instead = await foreignText(root, ROOT, 'runsc');
        const first = planInPlace({ file: ROOT, instead }, 'runsc', NEW);
        await replaceText(nodeOf(root), undefined, first);
        assert.equal((await config()).runtimes.get('runsc')?.runtimePath, NEW.shim);
        assert.equal((await config()).runtimes.get('runc')?.runtimeType, 'io.containerd.runc.v2');
        const second = planInPlace(first, 'runsc', NEWER);
        await replaceText(nodeOf(root), first, second);
        assert.equal((await config()).runtimes.get('runsc')?.runtimePath, NEWER.shim);
        await replaceText(nodeOf(root), second, undefined);
        assert.equal(await readFile(join(root, ROOT), 'utf8'), text);
      }
    });

  it('take over no handler that is in two places', async (t) => {
    const runsc = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc';
    const text = `version = 2\n${runsc}]\n[metrics]\n${runsc}.options]\n`;
    const { root } = await hostWith(t, { [ROOT]: text }, '1.7.34');
    await assert.rejects(foreignText(root, ROOT, 'runsc'), /is not one table with its options/);
  });

  it('refuse a text that was edited since, name the difference, and lose nothing', async (t) => {
    const { root, plan } = await hostWith(t, { [ROOT]: RUNC_V2 }, '1.7.34');
    const first = await plan();
    await replaceText(nodeOf(root), undefined, first);
    const changed = (await readFile(join(root, ROOT), 'utf8')).replace(NEW.shim, '/usr/bin/other-shim');
    await writeFile(join(root, ROOT), changed);
    for (const next of [undefined, await plan(NEWER)])
      await assert.rejects(
        replaceText(nodeOf(root), first, next),
        /"\/etc\/containerd\/config.toml".*not the one.*\+ +runtime_path = "\/usr\/bin\/other-shim"/s,
      );
    assert.equal(await readFile(join(root, ROOT), 'utf8'), changed);
  });

  it('refuse a configuration of version 1', async (t) => {
    const { plan } = await hostWith(t, { [ROOT]: '[plugins.cri]\n' }, '1.7.34');
    await assert.rejects(plan(), /version 1. Rewrite it as version 2/);
  });
});
