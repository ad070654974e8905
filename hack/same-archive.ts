import { run } from './run.ts';

/** What to pack: files and folders below `folder`, all with the time `epoch` (seconds). */
export type PackOptions = {
  readonly folder: string;
  readonly files: readonly string[];
  readonly epoch?: number;
};

/** Writes a tar archive (compressed where its name ends in .gz or .tgz) that is the same for the same files anywhere. */
export async function pack(archive: string, { folder, files, epoch = 0 }: PackOptions): Promise<void> {
  const same = ['--sort=name', `--mtime=@${epoch}`, '--owner=0', '--group=0', '--numeric-owner'];
  const compress = /\.t?gz$/.test(archive) ? ['-I', 'gzip -nc9'] : [];
  const modes = ['--mode=u+rwX,go+rX,go-w', '--format=gnu'];
  await run('tar', [...same, ...modes, ...compress, '-C', folder, '-cf', archive, ...files], {
    timeoutMs: 5 * 60_000,
  });
}
