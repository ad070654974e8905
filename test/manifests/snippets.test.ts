import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'smol-toml';
import { ensureTools } from '../../cluster/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { markedBlocks } from '../docs/marked-blocks.ts';

/** A documented snippet of containerd's configuration. */
type Snippet = { readonly where: string; readonly containerd: '2' | '1.7'; readonly toml: string };

const marked: Snippet[] = markedBlocks('docs/distributions.md')
  .filter(({ kind }) => kind === 'load')
  .map(({ mark, text }, index) => ({
    where: `docs/distributions.md, table ${index + 1}`,
    containerd: mark === 'containerd 2' ? '2' : '1.7',
    toml: text,
  }));

const GENERATION = '/usr/local/lib/gvisor/20260914.0';

let dir = '';
let bin: Record<'2' | '1.7', string>;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'snippets-'));
  const tools = await ensureTools(['containerd', 'containerd-1.7']);
  bin = { '2': join(tools.containerd, 'containerd'), '1.7': join(tools['containerd-1.7'], 'containerd') };
});
after(() => rm(dir, { recursive: true, force: true }));

/** The handler "runsc" in `containerd config dump`; undefined if there is none. */
async function loaded({ containerd, toml }: Omit<Snippet, 'where'>): Promise<Handler | undefined> {
  const config = join(dir, 'config.toml');
  const dropIn = join(dir, 'drop-in.toml');
  if (containerd === '2') {
    await writeFile(dropIn, toml);
    await writeFile(config, `version = 3\nimports = ["${dropIn}"]\n`);
  } else {
    await writeFile(config, `version = 2\n${toml}`);
  }
  const dump = parse(await run(bin[containerd], ['--config', config, 'config', 'dump'])) as Dump;
  const plugin = containerd === '2' ? 'io.containerd.cri.v1.runtime' : 'io.containerd.grpc.v1.cri';
  return dump.plugins[plugin]?.containerd?.runtimes?.runsc;
}

type Handler = {
  readonly runtime_type: string;
  readonly runtime_path: string;
  readonly options: { readonly ConfigPath: string };
};
type Dump = {
  readonly plugins: Readonly<
    Record<string, { readonly containerd?: { readonly runtimes?: { readonly runsc?: Handler } } }>
  >;
};

describe('the documented configuration in a real containerd', () => {
  it('covers every marked table', () => {
    assert.deepEqual(
      marked.map(({ containerd }) => containerd),
      ['2', '1.7', '2', '1.7'],
    );
  });

  for (const snippet of marked) {
    it(`${snippet.where}, containerd ${snippet.containerd}`, async () => {
      const handler = await loaded(snippet);
      assert.equal(handler?.runtime_type, 'io.containerd.runsc.v1');
      assert.equal(handler?.options.ConfigPath, `${GENERATION}/runsc.toml`);
      assert.equal(handler?.runtime_path, `${GENERATION}/containerd-shim-runsc-v1`);
    });
  }

  it('the NodeConfig for EKS', async () => {
    const text = await readFile(join(REPO, 'docs/distributions.md'), 'utf8');
    const [, block = ''] = /^ {4}config: \|\n((?: {6}.*\n)+)/m.exec(text) ?? [];
    const handler = await loaded({ containerd: '2', toml: block.replace(/^ {6}/gm, '') });
    assert.equal(handler?.runtime_path, `${GENERATION}/containerd-shim-runsc-v1`);
  });

  it('tables of the other config version are silently ignored', async () => {
    const [two = '', one = ''] = marked.map(({ toml }) => toml);
    assert.equal(await loaded({ containerd: '1.7', toml: two }), undefined);
    const config = join(dir, 'config.toml');
    const runc =
      "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n  runtime_type = 'io.containerd.runc.v2'\n";
    await writeFile(config, `version = 3\n${runc}${one}`);
    assert.doesNotMatch(
      await run(bin['2'], ['--config', config, 'config', 'dump']),
      /cri\.v1\.runtime'\.containerd\.runtimes\.runsc/,
    );
  });
});
