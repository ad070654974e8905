import assert from 'node:assert/strict';
import { access, constants, readFile, readlink } from 'node:fs/promises';
import { processesIn } from '../../cluster/machine/machine.ts';
import { as, behind, FOREVER, type Seen, type Try } from './tenant-try.ts';

/**
 * Where the node sees the root file system of the container whose id is $1. A container of cgroup v1 reads its id in
 * /proc/self/cgroup; with cgroup v2 it has a namespace and reads nothing there, but its tenant can ask the API server.
 */
const OWN_ROOT = 'ROOT=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$1/rootfs';
/** Programs of the tenant's own under the names of gVisor's: they say that they ran. */
const EVIL =
  "mkdir -p /evil; for name in runsc containerd-shim-runsc-v1; do printf '#!/bin/sh\\necho runsc version pwned-uid0\\n' >/evil/$name; chmod 755 /evil/$name; done";
/** A configuration of the tenant's own, whose handler runs its programs. */
const EVIL_CONFIG =
  'printf \'version = 3\\n[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc]\\nruntime_type = "/evil/runsc"\\n\' >/evil/evil.toml';

/** Where a process that calls itself containerd leads below the root file system of a container of the try: a path of the node. */
async function ledTo({ node, ids }: Seen): Promise<string> {
  const told = processesIn(node.machine).map(async ({ pid, argv }) => {
    const read = (file: string) => readFile(node.path(`/proc/${pid}/${file}`), 'utf8').catch(() => '');
    const isNamedSo = (await read('comm')).trim() === 'containerd';
    return isNamedSo ? [...argv, ...(await read('environ')).split('\0')] : [];
  });
  const words = (await Promise.all(told)).flat();
  const paths = words.flatMap((word) => /\/run\/containerd\/[^:]*\/rootfs\/evil[^:]*/.exec(word) ?? []);
  const path = paths.find((each) => ids.some((id) => each.includes(`/${id}/`)));
  assert.ok(path, 'no process that calls itself containerd leads into the root file system of the container');
  return path;
}

/** Checks that the programs of the tenant's own lie where a process that calls itself containerd leads. */
async function leadsToPrograms(seen: Seen): Promise<void> {
  const folder = await ledTo(seen);
  for (const name of ['runsc', 'containerd-shim-runsc-v1']) {
    const file = seen.node.path(`${folder}/${name}`);
    assert.match(await readFile(file, 'utf8'), /pwned/);
    await access(file, constants.X_OK);
  }
}

/** The tries that lead from the host's paths into the root file system of the tenant's own container. */
export const OWN_ROOT_TRIES: readonly Try[] = [
  {
    what: 'a containerd whose PATH leads into its own root file system',
    before: 'its runsc was executed as uid 0 in the agent',
    pods: [
      {
        script: FOREVER,
        exec: `${EVIL}; ${OWN_ROOT}; export PATH=$ROOT/evil:$PATH; ${behind(as('containerd'))}`,
      },
    ],
    took: leadsToPrograms,
  },
  {
    what: 'a program that it starts by exec and only then names containerd, with that PATH',
    before: 'its runsc was executed as uid 0 in the agent: any process of that name counted',
    pods: [
      {
        script: FOREVER,
        exec: `${EVIL}; ${OWN_ROOT}; export PATH=$ROOT/evil:$PATH; ${behind(
          `sh -c 'printf containerd >/proc/$$/comm; ${FOREVER}'`,
        )}`,
      },
    ],
    took: leadsToPrograms,
  },
  {
    what: 'a containerd that names a configuration of its own',
    before: 'its file counted where it was the only one that names one',
    pods: [
      {
        script: FOREVER,
        exec: `mkdir -p /evil; ${EVIL_CONFIG}; ${OWN_ROOT}; ${behind(
          as('containerd', '--config $ROOT/evil/evil.toml --address /run/containerd/containerd.sock'),
        )}`,
      },
    ],
    took: async (seen) =>
      assert.match(await readFile(seen.node.path(await ledTo(seen)), 'utf8'), /"\/evil\/runsc"/),
  },
  {
    what: "links out of its root file system to the host's secrets",
    before: 'read where the PATH led there',
    pods: [
      {
        script: FOREVER,
        exec: `mkdir -p /evil; ln -s /etc/shadow /evil/runsc; ln -s / /evil/root; ${OWN_ROOT}; export PATH=$ROOT/evil:$PATH; ${behind(as('containerd'))}`,
      },
    ],
    took: async (seen) =>
      assert.equal(await readlink(seen.node.path(`${await ledTo(seen)}/runsc`)), '/etc/shadow'),
  },
];
