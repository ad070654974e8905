import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { list, matching, object, text } from '../../lib/report/schema.ts';
import { Refusal } from '../base/refusal.ts';

/** The path is in the release's directory; the SHA-256 is hexadecimal. */
export type ReleaseFile = { readonly path: string; readonly sha256: string };

/** From its image: `manifest.json` beside the files that it lists. */
export type Release = {
  /** Such as "release-20260223.0". */
  readonly name: string;
  /** Node's name of the architecture, such as "x64". */
  readonly arch: string;
  readonly files: readonly ReleaseFile[];
};

export const MANIFEST = 'manifest.json';

const REQUIRED = ['runsc', 'containerd-shim-runsc-v1'];

/** Throws a {@link Refusal} for anything but a release for this machine. */
export async function readRelease(directory: string): Promise<Release> {
  const file = join(directory, MANIFEST);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Refusal('release', { what: `Cannot read the release's manifest "${file}": ${error.code}` });
  });
  const release = parseRelease(text, file);
  if (release.arch === process.arch) return release;
  const what = `"${file}" is a release for ${release.arch}, and this machine is ${process.arch}`;
  throw new Refusal('release', { what });
}

const isRelease = object<Release>({
  name: matching(/^[\w.+~-]{1,60}$/),
  arch: text,
  files: list(
    object<ReleaseFile>({
      path: matching(/^(?!.*(?:^|\/)\.\.(?:\/|$))[\w.-]+(\/[\w.-]+)*$/),
      sha256: matching(/^[0-9a-f]{64}$/),
    }),
  ),
});

export function parseRelease(json: string, file: string): Release {
  let release: unknown;
  try {
    release = JSON.parse(json);
  } catch {} // no release either
  if (!isRelease(release))
    throw new Refusal('release', { what: `"${file}" is not a manifest with name, arch and files` });
  const { name, arch, files } = release;
  const missing = REQUIRED.filter((path) => !files.some((each) => each.path === path));
  if (missing.length > 0)
    throw new Refusal('release', { what: `"${file}" lists no ${missing.join(' and no ')}` });
  return { name, arch, files };
}
