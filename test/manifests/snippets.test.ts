import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'smol-toml';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { packRelease } from '../../hack/gvisor-release.ts';
import { run } from '../../hack/run.ts';
import { handlerTable, SECTIONS } from '../../installer/config/own-text.ts';
import { type Generation, generationOf } from '../../installer/release/generation.ts';
import { readRelease } from '../../installer/release/release.ts';

type Version = '1.7' | '2';

let dir = '';
let bin: Record<Version, string>;
let generation: Generation;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'snippets-'));
  const tools = await ensureTools(['containerd', 'containerd-1.7']);
  bin = { '2': join(tools.containerd, 'containerd'), '1.7': join(tools['containerd-1.7'], 'containerd') };
  await writeFile(join(dir, 'program'), '');
  const programs = { runsc: join(dir, 'program'), 'containerd-shim-runsc-v1': join(dir, 'program') };
  await packRelease(join(dir, 'release'), 'release-20260914.0', programs);
  generation = generationOf(await readRelease(join(dir, 'release')), new Map());
});
after(() => rm(dir, { recursive: true, force: true }));

const tableFor = (containerd: Version) =>
  `${handlerTable(SECTIONS[containerd === '2' ? 1 : 0], 'runsc', generation).join('\n')}\n`;

/** The handler "runsc" in `containerd config dump`; undefined if there is none. */
async function loaded(containerd: Version, toml: string): Promise<Handler | undefined> {
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

describe('the printed table in a real containerd', () => {
  for (const [what, containerd, text] of [
    ['of containerd 1.7', '1.7', ''],
    ['of containerd 2', '2', ''],
    ['of containerd 2 below its version, as k0s needs it', '2', 'version = 3\n'],
  ] as const) {
    it(`${what} is loaded`, async () => {
      const handler = await loaded(containerd, `${text}${tableFor(containerd)}`);
      assert.deepEqual(
        [handler?.runtime_type, handler?.runtime_path, handler?.options.ConfigPath],
        ['io.containerd.runsc.v1', generation.shim, generation.config],
      );
    });
  }
});
