import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';
import { run, runAll } from '../../hack/run.ts';

/** An edit of a place at which a program is put together; the text occurs once in the file. */
type Edit = readonly [file: string, text: string, replacement: string];

/** Edits by the test file that must fail with each of them. */
const EDITS: Readonly<Record<string, readonly Edit[]>> = {
  'test/controller/controller.test.ts': [
    [
      'controller/controller.ts',
      'const isAllowed = () => this.#decision?.breaker.length === 0;',
      'const isAllowed = () => true;',
    ],
    ['controller/controller.ts', '[...(this.#withdrawn.get(node.uid) ?? []), this.#nowMs]', '[this.#nowMs]'],
    ['controller/controller.ts', 'this.#cache.observe(this.#withdrawn)', 'this.#cache.observe(new Map())'],
    [
      'controller/controller.ts',
      'this.#cache.markReady(node.name); // restarts its timer',
      'void this.#cache;',
    ],
    ['controller/controller.ts', 'return this.#nowMs - this.#decidedMs < STALLED_MS;', 'return true;'],
    ['controller/controller.ts', 'err.status === 409 ? 0 : WRITE_BACKOFF_MS', 'err.status === 409 ? 0 : 0'],
    ['controller/controller.ts', 'if (taint) start(decision.exposed,', 'if (!taint) start(decision.exposed,'],
  ],
  'test/agent/main.test.ts': [
    [
      'agent/main.ts',
      "for (const { queue } of handlers) queue.push({ kind: 'containerd', state });",
      "main.queue.push({ kind: 'containerd', state });",
    ],
    [
      'agent/main.ts',
      'live: () => handlers.every(({ agent }) => agent.live),',
      'live: () => main.agent.live,',
    ],
    [
      'agent/main.ts',
      "  await Promise.all(handlers.map(({ prover }) => prover.finish(SHUTDOWN_TIMEOUT_MS)));\n  log.info('agent stopped",
      "  await main.prover.finish(SHUTDOWN_TIMEOUT_MS);\n  log.info('agent stopped",
    ],
    ['agent/main.ts', "['SIGINT', 'SIGTERM'] as const", "['SIGINT'] as const"],
    ['agent/handler.ts', 'siblings, ownPod, turns: probes.turns }', 'siblings, ownPod }'],
  ],
  'test/installer/install.test.ts': [
    ['installer/validate.ts', '    if (foreign.length > 0) {', '    if (foreign.length > 99) {'],
    [
      'installer/containerd.ts',
      '    return textOf(before) === textOf(after) ? [] : [path];',
      '    return [];',
    ],
    ['installer/candidate.ts', '    await inspectSentry(root, pid);\n', ''],
    ['installer/candidate.ts', '    await requireOutput(join(root, output));\n', ''],
    [
      'installer/processes.ts',
      "    if (parseCgroups(await read('cgroup')).some((path) => podUidOf(path) !== undefined)) continue;\n",
      '',
    ],
    [
      'installer/preflight.ts',
      '      if (isDown || performance.now() > deadlineMs) throw error;',
      '      throw error;',
    ],
    ['installer/preflight.ts', '  if (bavail * bsize >= FREE_BYTES) return;', '  return;'],
    ['installer/preflight.ts', '  if (takeOver && !isOwn) return file;', '  if (!isOwn) return file;'],
    ['installer/install.ts', '  if (pods.length === 0) return;', '  return;'],
    ['installer/steps.ts', '        await writeEdits(root, back);\n', ''],
    ['installer/steps.ts', 'const seen = next && (await proveHandler(node));', "const seen = next && '';"],
    ['installer/steps.ts', '        if (ended.length === 0) return text;\n', '        return text;\n'],
    ['installer/quiet.ts', "restart.state === 'safe' ? unanswered(observation) : restart.because;", '[];'],
    [
      'installer/install.ts',
      '  if (!options.retryNow) refuseRetry(journal, { generation: directory });\n',
      '',
    ],
    ['installer/retry.ts', '  if (left === generation && !removes) {', '  if (false) {'],
    [
      'installer/change.ts',
      '      await writeJournal(root, { ...kept, failure, ...(left && { pending }) }).catch(() => {});',
      '      await writeJournal(root, { ...kept, failure, ...(left && { pending }) });',
    ],
    ['installer/install.ts', '  await removePrograms(node, force);\n', ''],
    ['installer/generations.ts', '    await endDeadProbes(node);\n', ''],
    ['installer/install.ts', '  if (!options.dryRun) await takeBackOthers(node);\n', ''],
  ],
  'test/installer/change.test.ts': [
    ['installer/steps.ts', '        await validate(node, containerd, edits, wanted);\n', ''],
    [
      'installer/change.ts',
      "  for (const name of ['write', 'restart'])",
      "  for (const name of ['restart', 'write'])",
    ],
    ['installer/preflight.ts', '  if (journal !== undefined) await refuseOtherFiles(node, journal);\n', ''],
    ['installer/generations.ts', '    if (broken.length > 0) return undefined;\n', ''],
    ['installer/generations.ts', 'const named = [...loadedPaths(await client.status()), ', 'const named = ['],
  ],
  'test/installer/risks.test.ts': [
    [
      'installer/install.ts',
      '  if (await needsRestart(node, generation)) await refuseRisks(node, seen);\n  await refuseLoss',
      '  await refuseLoss',
    ],
    ['installer/steps.ts', "        await proveRunc(node, 'quiet', QUIET_MS);\n", ''],
    [
      'installer/retry.ts',
      '  const isGivenUp = tries >= MAX_TRIES && restarts > 0;',
      '  const isGivenUp = false;',
    ],
  ],
  'test/lib/node/proof/prover.test.ts': [
    [
      'lib/node/proof/control.ts',
      'if (failure !== undefined) this.#restUntilMs',
      'if (failure === null) this.#restUntilMs',
    ],
    [
      'lib/node/proof/control.ts',
      "names.includes('runc') ? 'runc' : names[0];",
      "names.includes('runc') ? 'runc' : (names[0] ?? proven);",
    ],
  ],
  'test/agent/evaluate.test.ts': [
    ['agent/evaluate.ts', 'const rerun = isUnexplained || (shim', 'const rerun = (shim'],
  ],
  'test/lib/node/proof/orphans.test.ts': [
    ['lib/node/proof/prover.ts', 'probe.abandoned.abort();', 'void probe.abandoned;'],
  ],
};

/**
 * Applies one edit at a time to a copy of the sources and runs its test file. Fails if a test passes with the edit, fails
 * without it, or an edit's text is gone.
 */
export async function mutateWiring(pattern: string): Promise<number> {
  const copy = await copySources();
  let failed = 0;
  const say = (outcome: string, what: string) => {
    if (outcome !== 'killed') failed += 1;
    console.log(`${outcome.padEnd(9)} (wiring) ${what}`);
  };
  try {
    for (const [test, edits] of Object.entries(EDITS)) {
      if (!new RegExp(pattern).test(test)) continue;
      if (await passes(copy, test))
        for (const edit of edits) say(await tryEdit(copy, test, edit), `${edit[0]}: ${edit[2].trim()}`);
      else say('FAILS', `${test} without an edit`);
    }
    console.log(`\nwiring: ${failed} edits were not noticed`);
    return Math.min(failed, 1);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

async function tryEdit(copy: string, test: string, [file, text, replacement]: Edit) {
  const path = join(copy, file);
  const source = readFileSync(path, 'utf8');
  if (source.split(text).length !== 2) return 'STALE';
  writeFileSync(
    path,
    source.replace(text, () => replacement),
  );
  try {
    return (await passes(copy, test)) ? 'SURVIVED' : 'killed';
  } finally {
    writeFileSync(path, source);
  }
}

async function passes(copy: string, test: string): Promise<boolean> {
  const args = '--test --test-isolation=none --test-force-exit --test-timeout=120000'.split(' ');
  const options = { cwd: copy, env: { ...process.env, NODE_TEST_CONTEXT: undefined }, timeoutMs: 300_000 };
  const ended = runAll(process.execPath, [...args, test], options);
  return ended.then(
    ({ code }) => code === 0,
    () => false, // a wiring without an end
  );
}

async function copySources(): Promise<string> {
  const copy = mkdtempSync(join(tmpdir(), 'wiring-'));
  await run('sh', ['-c', 'git ls-files -z | tar -c --null -T - | tar -x -C "$1"', 'sh', copy], { cwd: REPO });
  symlinkSync(join(REPO, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}
