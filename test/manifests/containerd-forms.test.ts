import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { ensureTools } from '../../cluster/tools/tools.ts';
import type { Node } from '../../installer/base/node.ts';
import { planEdits, writeEdits } from '../../installer/config/edits.ts';
import { planHandler, readMainFile, runtimesIn } from '../../installer/config/handler-config.ts';
import { changedKeys } from '../../installer/containerd/difference.ts';
import { dumpConfig } from '../../installer/containerd/dump.ts';
import { type Generation, generationAt } from '../../installer/release/generation.ts';
import { validateEdits } from '../../installer/steps/validate.ts';
import { readContainerdConfig } from '../../lib/containerd/config.ts';
import { tableAt } from '../../lib/containerd/toml.ts';
import { Host } from '../../lib/host/host.ts';
import { markedBlock } from '../docs/marked-blocks.ts';

type Form = {
  readonly name: string;
  readonly on: readonly ('1.7' | '2')[];
  readonly files: Readonly<Record<string, string>>;
  /** containerd's root file. */
  readonly config?: string;
  readonly into?: string;
  readonly refused?: string;
};

const FORMS = parse(
  readFileSync(new URL('../fixtures/containerd-forms.yaml', import.meta.url), 'utf8'),
) as readonly Form[];
const RELEASES = { '1.7': '1.7.34', '2': 'v2.4.2' };
const [OLD, NEW] = ['release-1-0123456789ab', 'release-2-ba9876543210'].map((name) =>
  generationAt(`/usr/local/lib/gvisor/${name}`),
) as [Generation, Generation];
const PATH = process.env.PATH;

let roots: Record<'1.7' | '2', string>;
let dir = '';
before(async () => {
  const tools = await ensureTools(['containerd', 'containerd-1.7']);
  dir = await mkdtemp(join(tmpdir(), 'forms-'));
  roots = { '1.7': join(dir, '1.7'), '2': join(dir, '2') };
  for (const [version, group] of [
    ['1.7', 'containerd-1.7'],
    ['2', 'containerd'],
  ] as const) {
    const root = roots[version];
    for (const path of ['run', 'etc/containerd', 'proc/self'])
      await mkdir(join(root, path), { recursive: true });
    cpSync(join(tools[group], 'containerd'), join(root, 'containerd'));
  }
  // Has the program of the node print its configuration there, in the place of the host's namespaces.
  const program = `#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nexec chroot "$NODE" /containerd "$@"\n`;
  await writeFile(join(dir, 'nsenter'), program, { mode: 0o755 });
  process.env.PATH = `${dir}:${PATH}`;
});
after(async () => {
  process.env.PATH = PATH;
  await rm(dir, { recursive: true, force: true });
});

/** A containerd of this version in a root of its own, with only these files. */
async function nodeWith(
  version: '1.7' | '2',
  { files, config = '/etc/containerd/config.toml' }: Pick<Form, 'files' | 'config'>,
) {
  const root = roots[version];
  rmSync(join(root, 'etc'), { recursive: true });
  await mkdir(join(root, 'etc/containerd'), { recursive: true });
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  process.env.NODE = root;
  const runtimeVersion = RELEASES[version];
  const client = { version: async () => ({ runtimeName: 'containerd', runtimeVersion }) };
  const node = { root, host: new Host(root), client, handler: 'runsc', containerdConfig: config };
  return { node: node as unknown as Node, runtimeVersion };
}

const filesIn = (root: string) =>
  Object.fromEntries(
    readdirSync(join(root, 'etc'), { recursive: true, withFileTypes: true })
      .filter((each) => each.isFile())
      .map((each) => join(each.parentPath, each.name))
      .sort()
      .map((path) => [path.slice(root.length), readFileSync(path, 'utf8')]),
  );

describe('a configuration of containerd', () => {
  for (const { name, on, files, config = '/etc/containerd/config.toml', into, refused } of FORMS)
    for (const version of on)
      it(`${name}, on ${RELEASES[version]}: ${into ?? 'refused'}`, async () => {
        const { node, runtimeVersion } = await nodeWith(version, { files, config });
        const { root, host } = node;
        const change = async (wanted: Generation | undefined) => {
          const { rules } = await readContainerdConfig(host, config, runtimeVersion);
          const dump = await dumpConfig(node, { pid: 1 }, config);
          const place = { host, rules, root: config, dump };
          const next = wanted && (await planHandler(place, 'runsc', wanted));
          const main = await readMainFile(host, rules, config);
          const edits = await planEdits(node, next, { texts: [], main });
          await validateEdits(node, { pid: 1 }, { edits, wanted });
          await writeEdits(root, edits);
          return next?.file;
        };
        if (refused !== undefined) {
          await assert.rejects(change(OLD), new RegExp(refused));
          assert.deepEqual(filesIn(root), files);
          return;
        }
        assert.equal(await change(OLD), into);
        await change(NEW);
        await change(undefined);
        assert.deepEqual(filesIn(root), files);
        assert.deepEqual(readdirSync(join(root, 'run')), []);
      });
});

it("the user data of EKS gives nodeadm's configuration the handler", async () => {
  const [form] = FORMS.filter(({ name }) => name === 'EKS (nodeadm), containerd 2');
  const { spec } = parse(markedBlock('docs/distributions.md', 'eks')) as NodeConfig;
  const text = `${form?.files['/etc/containerd/config.toml']}${spec.containerd.config}`; // nodeadm merges the tables
  const { node } = await nodeWith('2', { files: { '/etc/containerd/config.toml': text } });
  const table = runtimesIn(await dumpConfig(node, { pid: 1 }, node.containerdConfig));
  assert.deepEqual([...(table?.keys() ?? [])].sort(), ['runc', 'runsc']);
  const generation = generationAt('/usr/local/lib/gvisor/RELEASE-DIGEST');
  assert.equal(tableAt(table, ['runsc'])?.get('runtime_path'), generation.shim);
  assert.equal(tableAt(table, ['runsc', 'options'])?.get('ConfigPath'), generation.config);
});

/** A platform's configuration, and where the block of docs/distributions.md with this mark goes. */
type Pasted = {
  readonly mark: string;
  readonly name: string;
  readonly on: readonly ('1.7' | '2')[];
  readonly handler?: string;
  readonly config: string;
  readonly base: string;
  readonly file?: string;
  readonly part?: string;
};
type MachineConfig = {
  readonly machine: { readonly files: readonly { readonly path: string; readonly content: string }[] };
};

/** Of a template; a drop-in is the same without it. */
const TEMPLATE = '{{ template "base" . }}\n';

function filesWith({ config, base, file, part = '' }: Pasted, text: string): Form['files'] {
  if (file !== undefined) return { [config]: base, [file]: part + text.replace(TEMPLATE, '') };
  return { [config]: text.includes(TEMPLATE) ? text.replace(TEMPLATE, () => base) : base + text };
}

describe('a file that a person copies', () => {
  for (const pasted of parse(
    readFileSync(new URL('../fixtures/pasted-handlers.yaml', import.meta.url), 'utf8'),
  ) as readonly Pasted[])
    for (const version of pasted.on)
      it(`for ${pasted.name} gives containerd ${RELEASES[version]} the handler, and takes nothing away`, async () => {
        const { mark, handler = 'runsc', config, base, file, part = '' } = pasted;
        const block = markedBlock('docs/distributions.md', mark, 'loaded');
        const files = mark === 'talos' ? (parse(block) as MachineConfig).machine.files : [];
        const text = files.find(({ path }) => path.endsWith('.part'))?.content ?? block;
        const before = await nodeWith(version, {
          files: { [config]: base, ...(file && { [file]: part }) },
          config,
        });
        const old = await dumpConfig(before.node, { pid: 1 }, config);
        const { node } = await nodeWith(version, { files: filesWith(pasted, text), config });
        const dump = await dumpConfig(node, { pid: 1 }, config);
        const isOurs = (path: readonly string[]) => path.join().includes(`containerd,runtimes,runsc`);
        const foreign = changedKeys(old, dump).filter((path) => path[0] !== 'imports' && !isOurs(path));
        assert.deepEqual(foreign, []);
        const table = tableAt(runtimesIn(dump), [handler]);
        assert.equal(table?.get('runtime_type'), 'io.containerd.runsc.v1');
        const [toml] = files.filter(({ path }) => path.endsWith('runsc.toml'));
        const generation = generationAt('/usr/local/lib/gvisor/RELEASE-DIGEST');
        assert.equal(tableAt(table, ['options'])?.get('ConfigPath'), toml?.path ?? generation.config);
        if (toml === undefined) assert.equal(table?.get('runtime_path'), generation.shim);
      });
});

type NodeConfig = { readonly spec: { readonly containerd: { readonly config: string } } };
