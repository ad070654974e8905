import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { access, constants, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { processesIn } from '../../cluster/machine/machine.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import type { ImageId } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';

/** An attempt to change the agent's report, or to run code outside the pod. */
export type Attack = {
  readonly what: string;
  /** Pods of the tenant. */
  readonly pods: readonly AttackPod[];
  /** The first argument of a process that then runs forever on the node, and others of its arguments. */
  readonly process?: readonly string[];
  /** Lines that are printed once it has taken effect. */
  readonly prints?: readonly string[];
  /** What else shows that it has taken effect. */
  readonly effect?: keyof typeof EFFECTS;
};

/** The state of a running attack. */
export type AttackView = {
  readonly node: ClusterNode;
  /** IDs of the tenant's containers in containerd. */
  readonly ids: readonly string[];
  /** Output of the containers and of the exec commands. */
  readonly output: string;
};

/** The differences from a plain pod that runs as root, with the agent's address in $AGENT. */
export type AttackPod = {
  readonly name?: string;
  /** How many such pods there are. */
  readonly copies?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly hasProbeLabels?: boolean;
  readonly annotations?: Readonly<Record<string, string>>;
  /** The length of an annotation, whose characters containerd escapes as six bytes each. */
  readonly largeAnnotation?: number;
  readonly spec?: object;
  readonly image?: ImageId;
  readonly container?: object;
  /** Keeps the capabilities that "baseline" allows. */
  readonly keepsCapabilities?: boolean;
  readonly gvisor?: boolean;
  /** Runs in sh and does not end; by default the container runs its image's command. */
  readonly script?: string;
  /** Its container is expected to end and restart. */
  readonly ends?: boolean;
  /** A script for `kubectl exec` in the running container, with the container's ID as $1; it must end. */
  readonly exec?: string;
  /** The source of a C program, which `exec` reads, statically linked, as base64. */
  readonly input?: string;
};

const FOREVER = 'while :; do sleep 1000; done';

const { functions, attacks } = parse(
  readFileSync(join(REPO, 'test/nightly/tenant-attacks.yaml'), 'utf8'),
) as { readonly functions: string; readonly attacks: readonly Attack[] };

export const ATTACKS: readonly Attack[] = attacks.map((attack) => ({
  ...attack,
  pods: attack.pods.flatMap((pod) => Array<AttackPod>(pod.copies ?? 1).fill(pod)),
}));

/** A script that can call the functions of the attacks. */
export const withFunctions = (script: string) => `FOREVER='${FOREVER}'\n${functions}${script}`;

/** The path, on the node, in a tenant's root file system to which a fake containerd's argv or environment points. */
async function targetOf({ node, ids }: AttackView): Promise<string> {
  const candidates = processesIn(node.machine).map(async ({ pid, argv }) => {
    const read = (file: string) => readFile(node.path(`/proc/${pid}/${file}`), 'utf8').catch(() => '');
    const isContainerd = (await read('comm')).trim() === 'containerd';
    return isContainerd ? [...argv, ...(await read('environ')).split('\0')] : [];
  });
  const texts = (await Promise.all(candidates)).flat();
  const paths = texts.flatMap((text) => /\/run\/containerd\/[^:]*\/rootfs\/evil[^:]*/.exec(text) ?? []);
  const path = paths.find((each) => ids.some((id) => each.includes(`/${id}/`)));
  assert.ok(path, 'no process named containerd points into the root file system of the container');
  return path;
}

const EFFECTS = {
  programs: async (view: AttackView) => {
    const directory = await targetOf(view);
    for (const name of ['runsc', 'containerd-shim-runsc-v1']) {
      const file = view.node.path(`${directory}/${name}`);
      assert.match(await readFile(file, 'utf8'), /pwned/);
      await access(file, constants.X_OK);
    }
  },
  configuration: async (view: AttackView) =>
    assert.match(await readFile(view.node.path(await targetOf(view)), 'utf8'), /"\/evil\/runsc"/),
  link: async (view: AttackView) =>
    assert.equal(await readlink(view.node.path(`${await targetOf(view)}/runsc`)), '/etc/shadow'),
  processes: async ({ node }: AttackView) => {
    const pids = (await readdir(node.path('/proc'))).filter((name) => /^\d+$/.test(name));
    assert.ok(pids.length > 3000, `the node has ${pids.length} processes`);
  },
  tricks: async ({ node, ids }: AttackView) => {
    const tricked = processesIn(node.machine).find(({ argv }) => argv[0] === '/tmp/tricks');
    const read = (file: string) => readFile(node.path(`/proc/${tricked?.pid}/${file}`), 'utf8');
    assert.match(await read('cgroup'), new RegExp(`${ids[0]}[^/]*/gvisor_ready$`, 'm'));
    assert.match(await read('mountinfo'), / \/run .* tmpfs /);
  },
};

/** Rejects until the attack has taken effect, so that a test cannot pass without an attack. */
export async function assertEffective(attack: Attack, view: AttackView): Promise<void> {
  const { process, prints = [], effect } = attack;
  for (const line of prints) assert.ok(view.output.split('\n').includes(line), view.output);
  if (process !== undefined) {
    const [name, ...args] = process;
    const found = processesIn(view.node.machine).some(
      ({ argv }) => argv[0] === name && [FOREVER, ...args].every((arg) => argv.includes(arg)),
    );
    assert.ok(found, `no process of the node is ${JSON.stringify(process)}`);
  }
  if (effect !== undefined) await EFFECTS[effect](view);
}

/** Builds a C program of this repository, statically linked, as base64. */
export async function buildProgram(source: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'tenant-'));
  try {
    const program = join(directory, 'program');
    await run('gcc', ['-static', '-o', program, join(REPO, source)]);
    return await readFile(program, 'base64');
  } finally {
    await rm(directory, { recursive: true });
  }
}
