import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { bundleInstaller, copyNode, nodeBinary } from './bundle.ts';
import { REPO } from './paths.ts';
import { run } from './run.ts';

export const INSTALLER = join(REPO, 'dist/installer/gvisor-ready-install');

/**
 * One program for hosts without Node: a Node binary, by default of this machine's architecture, with the bundle inside.
 * It needs glibc 2.28 and libstdc++. https://nodejs.org/docs/latest-v24.x/api/single-executable-applications.html
 */
export async function buildInstaller(file: string = INSTALLER, inside = nodeBinary()): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const work = await mkdtemp(`${file}-`);
  const at = (name: string) => join(work, name);
  try {
    await bundleInstaller(at('installer.cjs'));
    const config = {
      main: 'installer.cjs', // no path of this machine, so that each build is the same
      output: at('blob'),
      disableExperimentalSEAWarning: true,
      execArgvExtension: 'none', // NODE_OPTIONS is not for this program
    };
    await writeFile(at('sea.json'), JSON.stringify(config));
    const node = nodeBinary();
    await run(node, ['--experimental-sea-config', at('sea.json')], { cwd: work });
    await copyNode(at('program'), inside);
    const postject = createRequire(import.meta.url).resolve('postject/dist/cli.js');
    const fuse = ['--sentinel-fuse', 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'];
    await run(node, [postject, at('program'), 'NODE_SEA_BLOB', at('blob'), ...fuse], {
      timeoutMs: 5 * 60_000,
    });
    await rename(at('program'), file);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

if (import.meta.filename === process.argv[1]) {
  await buildInstaller();
  console.log(INSTALLER);
}
