import { DAEMON_SET, NAMESPACE } from '../agent/kube/access.ts';
import { VERSION } from '../agent/version.ts';
import { listAgents } from './agents.ts';
import { readDaemonSet } from './check-cluster.ts';
import { type CheckLine, inSection } from './check-line.ts';
import type { Context } from './context.ts';
import { count, named } from './known.ts';
import { listNodes, type NodeView } from './node-view.ts';

const DOCS = 'docs/operations.md#when-something-is-wrong';

/** The agents: whether they run and are of one version, and what they say of the nodes. */
export async function checkAgents({ api }: Context): Promise<readonly CheckLine[]> {
  const line = inSection('Agents');
  const [nodes, agents, daemonSet] = await Promise.all([listNodes(api), listAgents(api), readDaemonSet(api)]);
  const lines: CheckLine[] = [];
  if (daemonSet === undefined) {
    lines.push(
      line(
        'fail',
        `There is no DaemonSet ${NAMESPACE}/${DAEMON_SET}: no agent proves anything`,
        'docs/install.md#3-the-agent-which-proves-it',
      ),
    );
  } else {
    const {
      desiredNumberScheduled: desired,
      numberReady = 0,
      updatedNumberScheduled: updated = 0,
    } = daemonSet.status;
    const unready = agents
      .filter(({ ready }) => !ready)
      .map(({ node, state }) => `${node} (${state === 'Running' ? 'NotReady' : state})`);
    lines.push(
      numberReady === desired && desired > 0
        ? line('pass', `${numberReady} of ${count(desired, 'agent')} Ready`, DOCS)
        : line(
            'fail',
            `${numberReady} of ${count(desired, 'agent')} Ready${unready.length === 0 ? '' : `; not so on ${named(unready)}`}`,
            DOCS,
          ),
    );
    if (updated < desired)
      lines.push(
        line(
          'warning',
          `A rollout is on its way or held up: ${updated} of ${count(desired, 'agent')} of the new version`,
          'docs/operations.md#a-rollout-that-goes-wrong',
        ),
      );
  }
  const alive = new Set(agents.filter(({ ready }) => ready).map(({ node }) => node));
  const orphans = nodes
    .filter(({ name, ready }) => ready === 'true' && !alive.has(name))
    .map(({ name }) => name);
  lines.push(
    orphans.length === 0
      ? line(
          'pass',
          'Every label that says ready has a living agent behind it',
          'docs/runbooks/GVisorLabelWithoutAgent.md',
        )
      : line(
          'fail',
          `The label says ready without a Ready agent on ${named(orphans)}: nobody proves those nodes now`,
          'docs/runbooks/GVisorLabelWithoutAgent.md',
        ),
  );
  return [...lines, ...aboutVersions(nodes), ...aboutNodes(nodes)];
}

/** Releases: those of agents that proved a node, beside this plugin's, and those of gVisor. */
function aboutVersions(nodes: readonly NodeView[]): CheckLine[] {
  const line = inSection('Agents');
  const versions = distinct(nodes.map(({ provenBy }) => provenBy));
  const others = versions.filter((version) => version !== VERSION);
  const releases = distinct(nodes.map(({ runsc }) => runsc));
  return [
    ...(versions.length === 0
      ? []
      : others.length === 0
        ? [line('pass', `Agents and this plugin are of version ${VERSION}`, DOCS)]
        : [line('warning', `Agents are of version ${versions.join(', ')}, this plugin is ${VERSION}`, DOCS)]),
    ...(releases.length > 1
      ? [
          line(
            'warning',
            `Nodes have different releases of gVisor: ${releases.join(', ')}`,
            'docs/runbooks/GVisorMixedReleases.md',
          ),
        ]
      : releases.map((release) =>
          line('pass', `Every node has gVisor ${release}`, 'docs/operations.md#upgrade-runsc'),
        )),
  ];
}

function aboutNodes(nodes: readonly NodeView[]): CheckLine[] {
  const line = inSection('Agents');
  const proven = nodes.filter(({ ready }) => ready === 'true');
  const wrong = nodes.filter(({ ready, status }) => ready === 'false' || (ready === '' && status !== ''));
  const unknown = proven.filter(({ status }) => status !== 'True');
  const told = ({ name, reason }: NodeView) => `${name} (${reason})`;
  return [
    proven.length > 0
      ? line(
          'pass',
          `gVisor is proven on ${proven.length} of ${count(nodes.length, 'node')}`,
          'docs/reasons.md',
        )
      : line(
          'fail',
          'gVisor is proven on no node, so pods that ask for it stay Pending',
          'docs/runbooks/GVisorNoNodeReady.md',
        ),
    ...(wrong.length === 0
      ? []
      : [line('warning', `Not ready: ${named(wrong.map(told))}`, 'docs/runbooks/GVisorNodeNotReady.md')]),
    ...(unknown.length === 0
      ? []
      : [line('warning', `Ready for now, and not known: ${named(unknown.map(told))}`, 'docs/reasons.md')]),
  ];
}

function distinct(words: readonly string[]): string[] {
  return [...new Set(words)].filter(Boolean).sort();
}
