import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { agentOn } from '../e2e/agents.ts';
import { deletePods, useCluster } from '../e2e/e2e-cluster.ts';
import { deployFleet, removeFleet } from '../e2e/fleet-cluster.ts';
import { runWithKubectl } from '../e2e/installation.ts';
import { RecordedPlugin } from '../e2e/recorded-plugin.ts';
import { operatorModule } from './operator-objects.ts';

const cluster = useCluster(deployFleet, removeFleet);
const POD = 'runbook';

/** The commands of each runbook, one a line. */
const COMMANDS = globSync('docs/runbooks/*.md', { cwd: REPO }).flatMap((file) =>
  [...readFileSync(join(REPO, file), 'utf8').matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block = '']) =>
    block
      .trim()
      .split('\n')
      .map((command) => ({ runbook: basename(file, '.md'), command })),
  ),
);
/** Commands for a node with a sandbox that hangs, which test/nightly/hanging-sandboxes.test.ts runs there. */
const ON_NODE = COMMANDS.filter(({ command }) => /^(ps|kill) /.test(command));
/** Commands that mend what only a fault has broken, which test/nightly/guards.test.ts follows. */
const MENDS = COMMANDS.filter(
  ({ runbook, command }) =>
    /^GVisor(Guard|Requirement)/.test(runbook) && /^kubectl (apply|delete|label) /.test(command),
);
/** These exit with 1 for an answer such as "no". */
const ASKS = /^kubectl (auth can-i|gvisor-ready) /;

describe('the commands of the runbooks', () => {
  let plugin: RecordedPlugin;
  let resources: readonly string[];
  before(async () => {
    plugin = await RecordedPlugin.install(cluster());
    await runPod(cluster(), POD, evaluationPod(POD, { gvisor: true, spec: { nodeName: 'node-1' } }));
    const crds = join(await operatorModule(), 'example/prometheus-operator-crd');
    resources = ['podmonitors', 'scrapeconfigs'].map((name) =>
      join(crds, `monitoring.coreos.com_${name}.yaml`),
    );
    for (const file of resources) await cluster().kubectl(['apply', '--server-side', '-f', file]);
  });
  after(async () => {
    for (const file of resources) await cluster().kubectl(['delete', '-f', file]);
    await cluster().kubectl(['uncordon', 'node-1']);
    await deletePods(cluster(), POD);
    await plugin.remove();
  });

  /** A command may have replaced the one before. */
  const nameOfAgent = () =>
    waitFor('the agent of node-1', 60_000, async () => {
      const { name, ready } = await agentOn(cluster(), 'node-1');
      return ready ? name : undefined;
    });
  const run = async (command: string) => {
    const name = await nameOfAgent();
    const words: Readonly<Record<string, string>> = {
      NODE: 'node-1',
      NAMESPACE: 'default',
      POD,
      AGENT: name,
      CANARY: name,
    };
    const script = command.replace(/\b(NODE|NAMESPACE|POD|AGENT|CANARY)\b/g, (word, _, at) =>
      command.startsWith(`${word}:.`, at) ? word : (words[word] ?? word),
    );
    const checked = ASKS.test(command) ? `${script} || test $? = 1` : script;
    return runWithKubectl(cluster(), `{ ${checked}; } 2>&1`, [join(plugin.directory, 'bin')]);
  };

  for (const { runbook, command } of COMMANDS.filter((each) => ![...ON_NODE, ...MENDS].includes(each)))
    it(`${runbook}: ${command}`, async () => {
      const output = await run(command);
      assert.doesNotMatch(output, /^error|not found|unknown (command|flag)|usage:/im);
      if (command.includes('| jq') && !/ \.(installation|handlers|nodeWrites\.problem)$/.test(command))
        assert.match(output, /^[[{"]/, 'a field of the report');
      if (command.includes('-o wide --field-selector spec.nodeName')) assert.match(output, / node-1 /);
    });

  it('cover every runbook, and leave only the commands on a node and of guards out', async () => {
    const names = globSync('docs/runbooks/*.md', { cwd: REPO }).map((file) => basename(file, '.md'));
    assert.deepEqual([...new Set(COMMANDS.map(({ runbook }) => runbook))].sort(), names.sort());
    assert.deepEqual([...new Set(ON_NODE.map(({ runbook }) => runbook))], ['GVisorSandboxesHang']);
    assert.equal(ON_NODE.length, 3);
    assert.equal(MENDS.length, 4);
  });
});
