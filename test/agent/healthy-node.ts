import type { TestContext } from 'node:test';
import type { EvaluateOptions } from '../../agent/evaluate.ts';
import type { Outcome } from '../../agent/proof/outcome.ts';
import { sourcesOf } from './checks/fake-node.ts';
import { tempHost } from './host/temp-host.ts';
import type { Script } from './proof/containerd-scripts.ts';
import { type FakeContainerd, fakeContainerd } from './proof/fake-containerd.ts';
import { fakeRunsc } from './runsc/fake-runsc.ts';

/** A signal that is never aborted, */
export const NEVER = new AbortController().signal;
/** and where runsc is. */
export const RUNSC = '/usr/local/bin/runsc';
const FILES = {
  '/proc/sys/kernel/osrelease': '6.8.0\n',
  '/proc/sys/user/max_user_namespaces': '96365\n',
  '/etc/containerd/config.toml':
    "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]\nruntime_type = 'io.containerd.runsc.v1'\n",
  [RUNSC]: fakeRunsc(),
  '/usr/local/bin/containerd-shim-runsc-v1': { program: '#!/bin/sh\n' },
};

/** A healthy node, and a look at it whose proof is what the test says. */
export async function healthy(
  t: TestContext,
  prove: (root: string) => Promise<Outcome>,
  scripts: Readonly<Record<string, Script>> = {},
): Promise<{ readonly containerd: FakeContainerd; readonly options: EvaluateOptions }> {
  const { containerd, client } = await fakeContainerd(t, scripts, {
    answerMs: 'Version' in scripts ? 300 : 60_000,
  });
  const host = await tempHost(t, FILES);
  const sources = sourcesOf('', { host, cri: client });
  const now = () => performance.now();
  return {
    containerd,
    options: { sources, prove: () => prove(host.root), compare: async (failed) => failed, now },
  };
}
