import { after, before, it } from 'node:test';
import { healNode } from '../../cluster/faults/break-node.ts';
import { patient } from '../../hack/run.ts';
import { NODES, type NodeName, useNodes } from './integration-cluster.ts';
import { OutsideAgent } from './outside-agent.ts';

/** For the head of a test file: both nodes, the agents that look at them, and ways to try both at once. */
export function useBothNodes() {
  const { cluster, node } = useNodes();
  const agents = new Map<NodeName, OutsideAgent>();

  function agentOf(name: NodeName): OutsideAgent {
    const agent = agents.get(name);
    if (agent === undefined) throw new Error(`No agent looks at ${name}`);
    return agent;
  }

  /** An agent for each node, which has proven it before the first test of this suite. */
  function useAgents(env: Readonly<Record<string, string>>): void {
    before(
      () =>
        onBoth(async (name) => {
          const agent = new OutsideAgent(node(name), env);
          agents.set(name, agent);
          await agent.proven();
        }),
      { timeout: patient(120_000) },
    );
    after(() => Promise.all([...agents.values()].map((agent) => agent.stop())));
  }

  /** One test for both nodes at once; when it fails, the nodes are healed all the same. */
  function itOnBoth(what: string, act: (name: NodeName) => Promise<void>): void {
    it(what, { timeout: patient(240_000) }, async () => {
      try {
        await onBoth(act);
      } finally {
        await onBoth((name) => healNode(cluster(), node(name)));
      }
    });
  }

  async function onBoth(act: (name: NodeName) => Promise<void>): Promise<void> {
    const ends = await Promise.allSettled(NODES.map(({ name }) => act(name)));
    const errors = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as Error] : []));
    if (errors.length > 1) throw new AggregateError(errors, errors.map(({ message }) => message).join('\n'));
    if (errors[0] !== undefined) throw errors[0];
  }

  return { cluster, node, agents, agentOf, useAgents, onBoth, itOnBoth };
}
