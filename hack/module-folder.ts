import { REPO } from './paths.ts';
import { run } from './run.ts';

/** The folder that Go unpacks a module into, which it downloads first if need be: "PATH@VERSION", or a PATH that the go.mod in `cwd` pins. */
export async function moduleFolder(module: string, cwd = REPO): Promise<string> {
  const text = await run('go', ['mod', 'download', '-json', module], { cwd, timeoutMs: 10 * 60_000 });
  return (JSON.parse(text) as { Dir: string }).Dir;
}
