import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { openAuthority } from '../../cluster/control-plane/pki.ts';
import { REPO } from '../../hack/paths.ts';
import { bundlePlugin } from '../../hack/plugin.ts';
import { runAll } from '../../hack/run.ts';
import { markedBlock } from '../docs/marked-blocks.ts';

const DOCUMENT = 'docs/kubectl.md';

/** The bundled plugin in a directory of its own, run by the real kubectl. */
export class RecordedPlugin {
  readonly #cluster: Cluster;
  readonly directory: string;

  private constructor(cluster: Cluster, directory: string) {
    this.#cluster = cluster;
    this.directory = directory;
  }

  static async install(cluster: Cluster): Promise<RecordedPlugin> {
    const directory = await mkdtemp(join(tmpdir(), 'plugin-'));
    const bundle = await bundlePlugin(join(directory, 'out'));
    await mkdir(join(directory, 'bin'));
    for (const name of ['kubectl-gvisor_ready', 'kubectl_complete-gvisor_ready'])
      await cp(join(dirname(bundle), name), join(directory, 'bin', name));
    await symlink(process.execPath, join(directory, 'bin/node'));
    await symlink(cluster.kubectlCommand([]).command, join(directory, 'bin/kubectl'));
    return new RecordedPlugin(cluster, directory);
  }

  /** The environment in which kubectl finds the plugin. */
  env(kubeconfig = this.#cluster.kubeconfig): NodeJS.ProcessEnv {
    return {
      HOME: this.directory,
      PATH: `${join(this.directory, 'bin')}:/usr/bin:/bin`,
      KUBECONFIG: kubeconfig,
    };
  }

  /** Returns the exit code, and standard output and standard error in one text. */
  async run(argv: string, kubeconfig?: string) {
    const { code, stdout, stderr } = await runAll('kubectl', ['gvisor-ready', ...argv.split(' ')], {
      env: this.env(kubeconfig),
    });
    return { code, text: `${stdout}${stderr}` };
  }

  /** Runs the plugin, and compares exit code and output with the block of docs/kubectl.md. */
  async matches(mark: string, argv: string, code: number): Promise<void> {
    const run = await this.run(argv);
    const transcript = `$ kubectl gvisor-ready ${argv}\n${run.text}${run.code === 0 ? '' : `# exit ${run.code}\n`}`;
    assert.equal(run.code, code, transcript);
    const recorded = await recordedBlock(mark, transcript);
    assert.equal(
      normalize(transcript),
      normalize(recorded),
      `${DOCUMENT} differs for "${mark}" from:\n${transcript}`,
    );
  }

  /** Writes the kubeconfig of a user with a client certificate. */
  async kubeconfigOf(name: string): Promise<string> {
    const { dir, port } = this.#cluster;
    const { cert, key } = await (await openAuthority(join(dir, 'pki'))).issue(name);
    const cluster = { server: `https://127.0.0.1:${port}`, 'certificate-authority': join(dir, 'pki/ca.crt') };
    const config = {
      'current-context': name,
      contexts: [{ name, context: { cluster: 'test', user: name, namespace: 'evaluations' } }],
      clusters: [{ name: 'test', cluster }],
      users: [{ name, user: { 'client-certificate-data': btoa(cert), 'client-key-data': btoa(key) } }],
    };
    const file = join(this.directory, `${name}.kubeconfig`);
    await writeFile(file, JSON.stringify(config));
    return file;
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Parts that vary between runs, including column widths. */
const VARIABLE: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/gvisor-ready-agent-[a-z0-9]{5}\b/g, 'gvisor-ready-agent-x'],
  [/\b\d+[smhd](\d+[smhd])?\b/g, 'AGE'],
  [/\b[0-9a-f]{12}([0-9a-f]{52})?\b/g, 'ID'],
  [/process \d+ is/g, 'process N is'],
  [/\s+/g, ' '],
];

function normalize(text: string): string {
  return VARIABLE.reduce((rest, [pattern, replacement]) => rest.replace(pattern, replacement), text).trim();
}

/** A block of docs/kubectl.md. If RECORD is set, the transcript replaces a block that differs. */
async function recordedBlock(mark: string, transcript: string): Promise<string> {
  const found = markedBlock(DOCUMENT, mark, 'plugin');
  if (process.env.RECORD === undefined || normalize(found) === normalize(transcript)) return found;
  const file = join(REPO, DOCUMENT);
  const before = await readFile(file, 'utf8');
  const block = new RegExp(`(<!-- plugin: ${mark} -->\n\`\`\`console\n)[\\s\\S]*?(\`\`\`\n)`);
  await writeFile(
    file,
    before.replace(block, (_, head: string, tail: string) => `${head}${transcript}${tail}`),
  );
  return transcript;
}
