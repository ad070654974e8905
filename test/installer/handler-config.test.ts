import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { copiesIn, planEdits, writeEdits } from '../../installer/config/edits.ts';
import { planHandler, readMainFile } from '../../installer/config/handler-config.ts';
import { markedBlock } from '../../installer/config/own-text.ts';
import type { Written } from '../../installer/journal/schema.ts';
import { generationAt } from '../../installer/release/generation.ts';
import { type ConfiguredRuntime, readContainerdConfig } from '../../lib/containerd/config.ts';
import { parseToml } from '../../lib/containerd/toml.ts';
import { Host } from '../../lib/host/host.ts';
import { tempHost } from '../lib/host/temp-host.ts';

const NEW = generationAt('/usr/local/lib/gvisor/release-20260223.0-0123456789ab');
const NEWER = generationAt('/usr/local/lib/gvisor/release-20260831.0-ba9876543210');
const ROOT = '/etc/containerd/config.toml';
const TOOLKIT = '/etc/containerd/conf.d/99-nvidia.toml';
const DROP_IN = '/etc/containerd/conf.d/zz-gvisor-ready-runsc.toml';
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
  next: Written | undefined,
  texts: readonly Written[] = [],
): Promise<void> {
  await writeEdits(node.root, await planEdits(node, next, { texts }));
}

const nodeOf = (root: string, handler = 'runsc') => ({
  ...{ root, handler, host: new Host(root), containerdConfig: ROOT },
});

/** Configurations as they are found, and the file that the handler is written to. */
const CASES = {
  'containerd 2.4, version 3, a directory of drop-ins': [
    'v2.4.2',
    '/etc/containerd/conf.d/zz-gvisor-ready-runsc.toml',
    { [ROOT]: 'version = 3\nimports = ["/etc/containerd/conf.d/*.toml"]\n' },
  ],
  'containerd 2.4, version 2, drop-ins by a relative path': [
    'v2.4.2',
    '/etc/containerd/conf.d/zz-gvisor-ready-runsc.toml',
    { [ROOT]: `imports = ["conf.d/*.toml"]\n${RUNC_V2}` },
  ],
  'containerd 2.1, version 2, a directory of drop-ins': [
    'v2.1.5',
    '/etc/containerd/conf.d/zz-gvisor-ready-runsc.toml',
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
          await replaceText(nodeOf(root, handler), next);
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
        await write('runsc-kvm', NEWER);
        const first = last === 'runsc' ? 'runsc-kvm' : 'runsc';
        await write(first, undefined);
        const left = last === 'runsc' ? [NEWER.shim, undefined] : [undefined, NEWER.shim];
        assert.deepEqual(await shims(), left);
        const rest = await readFile(join(root, file), 'utf8').catch(() => '');
        assert.equal(markedBlock(first, rest), undefined);
        await write(last, NEW);
        await write(last, undefined);
        assert.equal(await readFile(join(root, file), 'utf8').catch(() => undefined), original);
      });

  it('keep the mode and the owner of the file', async (t) => {
    const { root, plan } = await hostWith(t, { [ROOT]: RUNC_V2 }, '1.7.34');
    await chmod(join(root, ROOT), 0o600);
    const before = await stat(join(root, ROOT));
    await replaceText(nodeOf(root), await plan());
    const { mode, uid, gid } = await stat(join(root, ROOT));
    assert.deepEqual([mode, uid, gid], [before.mode, before.uid, before.gid]);
  });

  it('refuse a symbolic link, which stays', async (t) => {
    const { root, plan } = await hostWith(t, { '/etc/containerd/real.toml': RUNC_V2 }, '1.7.34');
    await symlink('real.toml', join(root, ROOT));
    await assert.rejects(replaceText(nodeOf(root), await plan()), /is a symbolic link/);
    assert.equal(await readlink(join(root, ROOT)), 'real.toml');
  });

  /** As NVIDIA's toolkit starts: it parses the root file and writes it anew, and copies all handlers into a drop-in. */
  async function copyHandlers(root: string, runtimes: ReadonlyMap<string, ConfiguredRuntime>): Promise<void> {
    const text = await readFile(join(root, ROOT), 'utf8');
    const bare = text.replace(/^(#.*|\s*)\n/gm, '').replace(/^imports = .*\n/m, '');
    await writeFile(join(root, ROOT), `imports = ["/etc/containerd/conf.d/*.toml"]\n${bare}`);
    const [version = '', section = ''] = [/^version.*\n/m, /(?<=plugins\.)"[^"]*"/].map(
      (each) => each.exec(bare)?.[0],
    );
    const tables = [...runtimes].map(
      ([name, { runtimeType, runtimePath, options }]) => `
        [plugins.${section}.containerd.runtimes.${name}]
          base_runtime_spec = ""
          runtime_type = "${runtimeType}"
          runtime_path = "${runtimePath}"
          [plugins.${section}.containerd.runtimes.${name}.options]
            ${Object.entries(options)
              .map(([key, value]) => `${key} = "${value}"\n`)
              .join('')}`,
    );
    await writeFile(join(root, TOOLKIT), `${version}${tables.join('')}`);
  }

  for (const [release, text, place] of [
    ['v2.4.2', RUNC_V2.replace('= 2', '= 3').replace('grpc.v1.cri', 'cri.v1.runtime'), DROP_IN],
    ['v2.4.2', RUNC_V2, DROP_IN],
    ['1.7.34', RUNC_V2, TOOLKIT],
  ] as const)
    it(`live beside a program that copies the handler, with ${release} and ${text.split('\n')[0]}`, async (t) => {
      const { root, config, plan } = await hostWith(t, { [ROOT]: text }, release);
      const runtime = async () => (await config()).runtimes.get('runsc');
      const main = async () => readMainFile(new Host(root), (await config()).rules, ROOT);
      const edit = async (next: Written | undefined) => {
        const edits = await planEdits(nodeOf(root), next, { texts: [], main: await main() });
        // What is added comes before what is taken away, so that a kill between them leaves a handler.
        if (next !== undefined) assert.equal(edits[0]?.file, next.file);
        await writeEdits(root, edits);
      };
      await edit(await plan(NEW));
      for (const generation of [NEWER, NEW, NEWER]) {
        await copyHandlers(root, (await config()).runtimes);
        const next = await plan(generation);
        assert.equal(next.file, place);
        await edit(next);
        assert.equal((await runtime())?.runtimePath, generation.shim);
        assert.deepEqual(await planEdits(nodeOf(root), next, { texts: [], main: await main() }), []);
      }
      await copyHandlers(root, (await config()).runtimes);
      await edit(undefined);
      // containerd 2 merges the copy, which is the other program's; 1.7 reads that file alone.
      const [copy] = await copiesIn(nodeOf(root), []);
      assert.match(
        copy ?? '',
        place === DROP_IN ? /^".*99-nvidia.toml" line \d+ has a copy/ : /^".*config.toml"/,
      );
      assert.equal((await runtime())?.runtimePath, place === DROP_IN ? NEWER.shim : undefined);
      assert.deepEqual(await planEdits(nodeOf(root), undefined, { texts: [], main: await main() }), []);
    });

  it('refuse a text that was edited since, name the difference, and lose nothing', async (t) => {
    const { root, plan } = await hostWith(t, { [ROOT]: RUNC_V2 }, '1.7.34');
    const first = await plan();
    await replaceText(nodeOf(root), first);
    const changed = (await readFile(join(root, ROOT), 'utf8')).replace(NEW.shim, '/usr/bin/other-shim');
    await writeFile(join(root, ROOT), changed);
    for (const next of [undefined, await plan(NEWER)])
      await assert.rejects(
        replaceText(nodeOf(root), next, [first]),
        /"\/etc\/containerd\/config.toml".*not the one.*\+ +runtime_path = "\/usr\/bin\/other-shim"/s,
      );
    assert.equal(await readFile(join(root, ROOT), 'utf8'), changed);
  });

  it('refuse a configuration of version 1', async (t) => {
    const { plan } = await hostWith(t, { [ROOT]: '[plugins.cri]\n' }, '1.7.34');
    await assert.rejects(plan(), /version 1. Rewrite it as version 2/);
  });
});
