import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { Host } from '../../../lib/host/host.ts';

/** Longer than a busy machine delays a file operation, or a response of a fake. */
export const PATIENT_MS = 600_000;

/** A host in a temporary directory that is removed after the test; `files` maps host paths to contents. */
export async function tempHost(
  context: TestContext,
  files: Readonly<Record<string, string | { link: string } | { program: string | Buffer }>> = {},
): Promise<Host> {
  const root = await mkdtemp(join(tmpdir(), 'host-'));
  context.after(() => rm(root, { recursive: true, force: true }));
  for (const [path, content] of Object.entries(files)) {
    const local = join(root, path);
    await mkdir(dirname(local), { recursive: true });
    if (typeof content === 'string') await writeFile(local, content);
    else if ('link' in content) await symlink(content.link, local);
    else await writeFile(local, content.program, { mode: 0o755 });
  }
  return new Host(root, PATIENT_MS);
}

/** A host with only these top-level directories mounted; others are the image's own. */
export async function mountedHost(
  context: TestContext,
  parts: readonly string[],
  files: Parameters<typeof tempHost>[1],
): Promise<Host> {
  const { root } = await tempHost(context, files);
  const mountInfo = join((await tempHost(context)).root, 'mountinfo');
  const lines = parts.map((part) => `1 2 3:4 / ${root}/${part} ro - ext4 /dev/root ro\n`);
  await writeFile(mountInfo, lines.join(''));
  return new Host(root, PATIENT_MS, mountInfo);
}
