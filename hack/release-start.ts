import type { NodeArchitecture } from './node-binary.ts';
import { run, runAll } from './run.ts';

/** qemu's emulators of one processor; they are static, so they run where there is nothing but the image. */
const EMULATORS: Readonly<Record<NodeArchitecture, string>> = {
  x64: '/usr/bin/qemu-x86_64-static',
  arm64: '/usr/bin/qemu-aarch64-static',
};

/** An image of a storage of buildah's: `storage` are the words that name it. */
export type StoredImage = {
  readonly storage: readonly string[];
  readonly image: string;
  readonly architecture: NodeArchitecture;
};

/**
 * Fails unless each program of the image starts and is of that version, and a look at a host without containerd ends as
 * documented. What is for another processor than this machine's runs under qemu.
 */
export async function requireStarts(
  { storage, image, architecture }: StoredImage,
  version: string,
): Promise<void> {
  const buildah = (...words: readonly string[]) => run('buildah', [...storage, ...words]);
  const container = (await buildah('from', '--pull-never', image)).trim();
  const agent = entrypointOf(await buildah('inspect', container));
  const [node = ''] = agent;
  const questions: readonly (readonly [words: readonly string[], code: number, answer: RegExp])[] = [
    [[...agent, '--version'], 0, new RegExp(`^${version}\n$`)],
    [[...agent, '--help'], 0, new RegExp(`^gvisor-ready agent ${version}: `)],
    [[...agent, '--once', '--json'], 2, /^\{\n.*"reason": "ContainerdUnreachable".*\n\}\n$/s],
    [[node, '/app/fleet.cjs', '--help'], 0, new RegExp(`^gvisor-ready fleet ${version}: `)],
    [[node, '/app/kubectl.cjs', '--version'], 0, new RegExp(`^${version}\n$`)],
  ];
  const emulator = architecture === process.arch ? [] : [EMULATORS[architecture]];
  const mount = emulator.flatMap((path) => ['--volume', `${path}:${path}:ro`]);
  const options = ['--isolation', 'chroot', ...mount, '--env', 'HOST_ROOT=/home'];
  const start = [...storage, 'run', ...options, container, '--', ...emulator];
  for (const [words, code, answer] of questions) {
    const said = await runAll('buildah', [...start, ...words], { timeoutMs: 5 * 60_000 });
    if (said.code !== code || !answer.test(said.stdout))
      throw new Error(
        `In the image for ${architecture} "${words.join(' ')}" should end with ${code} and say ${answer}; it ended with ${said.code}: ${said.stdout}${said.stderr}`,
      );
  }
  await buildah('rm', container);
}

/** The words that start the image's program, in what `buildah inspect` prints. */
function entrypointOf(inspected: string): readonly string[] {
  const { OCIv1 } = JSON.parse(inspected) as { OCIv1: { config: { Entrypoint: readonly string[] } } };
  return OCIv1.config.Entrypoint;
}
