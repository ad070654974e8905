import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { openAuthority } from '../../cluster/control-plane/pki.ts';
import { REPO } from '../../hack/paths.ts';
import { bundlePlugin } from '../../hack/plugin.ts';
import { runAll } from '../../hack/run.ts';
import { markedBlocks } from '../docs/marked-blocks.ts';

const DOCUMENT = 'docs/kubectl.md';

/** What a run of the plugin printed, both streams in one, and its exit code. */
export type Asked = { readonly code: number; readonly text: string };

/** How the plugin is called: as another user, or with other variables of the environment. */
export type AskOptions = { readonly kubeconfig?: string; readonly env?: NodeJS.ProcessEnv };

/** A kubeconfig as an object. */
type Kubeconfig = {
  'current-context': string;
  contexts: { name: string; context: object }[];
  clusters: { name: string; cluster: { server: string; 'certificate-authority': string } }[];
  users: { name: string; user: object }[];
};

/** The bundled plugin in a folder of its own, called through the cluster's real kubectl. */
export class Plugin {
  readonly #cluster: Cluster;
  readonly folder: string;

  private constructor(cluster: Cluster, folder: string) {
    this.#cluster = cluster;
    this.folder = folder;
  }

  static async open(cluster: Cluster): Promise<Plugin> {
    const folder = await mkdtemp(join(tmpdir(), 'plugin-'));
    const bundle = await bundlePlugin(join(folder, 'out'));
    await mkdir(join(folder, 'bin'));
    for (const name of ['kubectl-gvisor_ready', 'kubectl_complete-gvisor_ready'])
      await cp(join(dirname(bundle), name), join(folder, 'bin', name));
    await symlink(process.execPath, join(folder, 'bin/node'));
    await symlink(cluster.kubectlCommand([]).command, join(folder, 'bin/kubectl'));
    return new Plugin(cluster, folder);
  }

  /** The environment in which kubectl finds the plugin, and the plugin the cluster. */
  env({ kubeconfig = this.#cluster.kubeconfig, env = {} }: AskOptions = {}): NodeJS.ProcessEnv {
    return {
      HOME: this.folder,
      PATH: `${join(this.folder, 'bin')}:/usr/bin:/bin`,
      KUBECONFIG: kubeconfig,
      ...env,
    };
  }

  /** Runs `kubectl gvisor-ready` with these words. */
  async ask(words: readonly string[], options: AskOptions = {}): Promise<Asked> {
    const { code, stdout, stderr } = await runAll('kubectl', ['gvisor-ready', ...words], {
      env: this.env(options),
    });
    return { code, text: `${stdout}${stderr}` };
  }

  /** Runs it, expects an exit code and what docs/kubectl.md shows under the mark, and gives what was printed. */
  async shows(mark: string, words: string, code: number, options: AskOptions = {}): Promise<string> {
    return this.holds(mark, words, code, await this.ask(words.split(' '), options));
  }

  /** The same of a run that has been. */
  async holds(mark: string, words: string, code: number, asked: Asked): Promise<string> {
    const shown = transcript(words, asked);
    assert.equal(asked.code, code, shown);
    const kept = await documented(mark, shown);
    assert.equal(
      lasting(shown),
      lasting(kept),
      `${DOCUMENT} shows something else for "${mark}" than:\n${shown}`,
    );
    return asked.text;
  }

  /** The file of a kubeconfig of a user with a client certificate of the cluster's authority, changed as told. */
  async kubeconfigOf(name: string, change: (config: Kubeconfig) => void = () => {}): Promise<string> {
    const { dir, port } = this.#cluster;
    const { cert, key } = await (await openAuthority(join(dir, 'pki'))).issue(name);
    const cluster = { server: `https://127.0.0.1:${port}`, 'certificate-authority': join(dir, 'pki/ca.crt') };
    const config: Kubeconfig = {
      'current-context': name,
      contexts: [{ name, context: { cluster: 'test', user: name, namespace: 'evaluations' } }],
      clusters: [{ name: 'test', cluster }],
      users: [{ name, user: { 'client-certificate-data': btoa(cert), 'client-key-data': btoa(key) } }],
    };
    change(config);
    const file = join(this.folder, `${name}.kubeconfig`);
    await writeFile(file, JSON.stringify(config));
    return file;
  }

  async close(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** What differs from one run to the next, and how wide columns are for it. */
const CHANGING: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/gvisor-ready-agent-[a-z0-9]{5}\b/g, 'gvisor-ready-agent-x'],
  [/\b(web-[a-z0-9]+-)[a-z0-9]{5}\b/g, '$1x'],
  [/\bweb-[a-z0-9]{8,10}\b/g, 'web-x'],
  [/\b\d+[smhd](\d+[smhd])?\b/g, 'AGE'],
  [/\b[0-9a-f]{12}([0-9a-f]{52})?\b/g, 'ID'],
  [/process \d+ is/g, 'process N is'],
  [/in \d+\.\d+ s\b/g, 'in N s'],
  [/node-\d: cleaned/g, 'node: cleaned'],
  [/\s+/g, ' '],
];

/** The text without what differs from one run to the next. */
function lasting(text: string): string {
  return CHANGING.reduce((rest, [pattern, replacement]) => rest.replace(pattern, replacement), text).trim();
}

/** A run as docs/kubectl.md shows it. */
function transcript(words: string, { code, text }: Asked): string {
  return `$ kubectl gvisor-ready ${words}\n${text}${code === 0 ? '' : `# exit ${code}\n`}`;
}

/** What docs/kubectl.md shows under a mark; with RECORD in the environment it is first written there, if it is news. */
async function documented(mark: string, shown: string): Promise<string> {
  const found = markedBlocks(DOCUMENT).find((block) => block.kind === 'plugin' && block.mark === mark);
  if (found === undefined) throw new Error(`${DOCUMENT} has no block "${mark}"`);
  if (process.env.RECORD === undefined || lasting(found.text) === lasting(shown)) return found.text;
  const file = join(REPO, DOCUMENT);
  const before = await readFile(file, 'utf8');
  const block = new RegExp(`(<!-- plugin: ${mark} -->\n\`\`\`console\n)[\\s\\S]*?(\`\`\`\n)`);
  await writeFile(
    file,
    before.replace(block, (_, head: string, tail: string) => `${head}${shown}${tail}`),
  );
  return shown;
}
