import { open, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { V1Container, V1Node, V1Pod } from '@kubernetes/client-node';
import { pack } from 'tar-stream';
import { pooledMap } from '../../lib/base/async.ts';
import { errorLine } from '../../lib/base/sanitize.ts';
import { VERSION } from '../../lib/base/version.ts';
import { SETTINGS } from '../../lib/fleet/agent-settings.ts';
import { FLEET_SETTINGS } from '../../lib/fleet/settings.ts';
import { AGENT_SELECTOR, DAEMON_SET } from '../../lib/kube/access.ts';
import { isOwnKey } from '../../lib/report/node-object.ts';
import type { Status } from '../../lib/report/report.ts';
import { podsPath, readReport } from '../agent-reports.ts';
import type { ApiObject } from '../api.ts';
import { type Context, EXIT } from '../context.ts';
import { FLEET_DEPLOYMENT, FLEET_SELECTOR } from '../fleet-controller.ts';
import { countOf, printLines, printMessage } from '../output.ts';
import { CLASSES, listRequirements, REQUIRE } from '../requirements.ts';
import { check } from './check.ts';
import { listRows, type NodeRow, nodes } from './nodes.ts';
import { status } from './status.ts';
import { version } from './version.ts';

/** The flags of `support-bundle`; `output` is the file. */
export type BundleFlags = { readonly output?: string; readonly selector?: string };

/** A file of the bundle, and how its text is read. */
type Entry = readonly [name: string, read: () => Promise<string>];

const CONCURRENCY = 8;
const MAX_LOG_BYTES = 2 * 2 ** 20;
const LOG_TIMEOUT_MS = 30_000;
const ADMISSION = '/apis/admissionregistration.k8s.io/v1';

/**
 * `support-bundle`: writes the results of the other commands, the agents' reports, the logs of agents and fleet controller,
 * their objects and events into one tar.gz. It reads no Secret and no ConfigMap, and of other pods at most the names.
 */
export async function supportBundle(context: Context, { output, selector }: BundleFlags): Promise<number> {
  const time = new Date(context.now()).toISOString().replace(/\.\d+Z$/, 'Z');
  const file = output ?? `gvisor-ready-${time.replace(/[-:]/g, '')}.tar.gz`;
  const { rows } = await listRows(context, selector);
  const entries = [
    ...commandEntries(context, selector),
    ...objectEntries(context),
    ...agentEntries(context, rows),
    ...(await fleetLogs(context)),
  ];
  printMessage(context.output, `Reading ${entries.length} files of ${countOf(rows.length, 'node')} ...`);
  const problems: { readonly file: string; readonly problem: string }[] = [];
  const archive = pack();
  const mtime = new Date(context.now());
  const add = (name: string, text: string) =>
    new Promise<void>((resolve, reject) => {
      archive.entry({ name: `gvisor-ready/${name}`, mtime, mode: 0o644 }, text, (error) =>
        error ? reject(error) : resolve(),
      );
    });
  const handle = await open(file, 'wx', 0o600);
  const written = pipeline(archive, createGzip(), handle.createWriteStream());
  const collected = pooledMap(entries, CONCURRENCY, async ([name, read]) => {
    try {
      await add(name, await read());
    } catch (error) {
      context.signal.throwIfAborted();
      problems.push({ file: name, problem: errorLine(error) });
    }
  }).then(async () => {
    await add('about.json', json({ at: time, plugin: VERSION, nodes: rows.length, problems }));
    archive.finalize();
  });
  try {
    await Promise.all([collected.catch((error: Error) => archive.destroy(error)), written]);
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
  printLines(context.output, [`Wrote ${file}: ${entries.length + 1 - problems.length} files.`]);
  for (const { file, problem } of problems.slice(0, MAX_PROBLEMS))
    printMessage(context.output, `Not in it: ${file}: ${problem}`);
  const more = problems.length - MAX_PROBLEMS;
  if (more > 0) printMessage(context.output, `${more} more files are not in it: see about.json.`);
  return problems.length === 0 ? EXIT.ok : EXIT.incomplete;
}

const MAX_PROBLEMS = 5;

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/** The results of other commands. */
function commandEntries(context: Context, selector: string | undefined): Entry[] {
  const format = { output: 'json', headers: true, ...(selector === undefined ? {} : { selector }) } as const;
  const captured = async (run: (quiet: Context) => Promise<unknown>) => {
    const texts: string[] = [];
    const out = (text: string) => void texts.push(text);
    await run({ ...context, output: { ...context.output, out, err: () => {} } });
    return texts.join('');
  };
  return [
    ['status.json', () => captured((quiet) => status(quiet, format))],
    ['check.json', () => captured((quiet) => check(quiet, format))],
    ['nodes.json', () => captured((quiet) => nodes(quiet, format))],
    ['version.json', () => captured((quiet) => version(quiet.output, () => quiet, format))],
  ];
}

function objectEntries({ api }: Context): Entry[] {
  const own = `/namespaces/${api.installedIn}`;
  const get = (path: string) => async () => json(withoutSecrets(await api.get<object>(path)));
  const list =
    (path: string, query = {}, isShown: (item: ApiObject<object>) => boolean = () => true) =>
    async () =>
      json((await api.list<object>(path, query)).items.filter(isShown).map(withoutSecrets));
  const isOurs = ({ metadata }: ApiObject<object>) => metadata.name.includes('gvisor-ready');
  const nodeList = async () =>
    json((await api.list<V1Node, object>('/api/v1/nodes', {}, nodeOf)).items.map(withoutSecrets));
  const requirements = async () =>
    json([...(await listRequirements(api))].map(([name, value]) => ({ name, [REQUIRE]: value })));
  return [
    ['objects/nodes.json', nodeList],
    ['objects/daemonset.json', get(`/apis/apps/v1${own}/daemonsets/${DAEMON_SET}`)],
    ['objects/deployment.json', get(`/apis/apps/v1${own}/deployments/${FLEET_DEPLOYMENT}`)],
    ['objects/agents.json', list(podsPath(api), { labelSelector: AGENT_SELECTOR })],
    ['objects/fleet.json', list(podsPath(api), { labelSelector: FLEET_SELECTOR })],
    ['objects/runtimeclasses.json', list(CLASSES)],
    ['objects/policies.json', list(`${ADMISSION}/validatingadmissionpolicies`, {}, isOurs)],
    ['objects/policy-bindings.json', list(`${ADMISSION}/validatingadmissionpolicybindings`, {}, isOurs)],
    ['objects/namespaces.json', requirements],
    ['events/gvisor-ready.json', list(`/api/v1${own}/events`)],
    // The events of Nodes are in the namespace "default".
    [
      'events/nodes.json',
      list('/api/v1/namespaces/default/events', { fieldSelector: 'involvedObject.kind=Node' }),
    ],
  ];
}

/** A Node without its images and volumes. */
function nodeOf({ metadata, spec, status }: ApiObject<V1Node>) {
  const { name, uid, labels, creationTimestamp, annotations } = metadata;
  return {
    metadata: { name, uid, labels, creationTimestamp, annotations },
    spec: { taints: spec?.taints, unschedulable: spec?.unschedulable },
    status: { conditions: status?.conditions, nodeInfo: status?.nodeInfo },
  };
}

const REDACTED = 'REDACTED';

/** Removes managed fields, the annotations of others, and the values of environment variables that are not settings of ours. */
function withoutSecrets<T extends object>(value: T): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, each: unknown) => {
      if (key === 'managedFields') return undefined;
      if (key === 'annotations')
        return Object.fromEntries(Object.entries(each ?? {}).filter(([name]) => isOwnKey(name)));
      if (key !== 'env' || !Array.isArray(each)) return each;
      return (each as NonNullable<V1Container['env']>).map((variable) =>
        variable.value === undefined || variable.name in SETTINGS || variable.name in FLEET_SETTINGS
          ? variable
          : { ...variable, value: REDACTED },
      );
    }),
  );
}

function agentEntries(context: Context, rows: readonly NodeRow[]): Entry[] {
  const { api } = context;
  return rows.flatMap(({ agent }): Entry[] => {
    if (agent === undefined || agent === '?') return [];
    const report = async () => {
      const result = await readReport(api, agent);
      if (result.report === undefined) throw new Error(result.problem);
      return json(withoutPods(result.report));
    };
    return [
      ...(agent.state === 'Running' ? [[`reports/${agent.node}.json`, report] as const] : []),
      ...logEntries(context, agent.name, agent.restarts),
    ];
  });
}

/** A report without the names and UIDs of pods. */
function withoutPods({ pods, sandboxes, ...report }: Status) {
  const counts = pods && {
    at: pods.at,
    stale: pods.stale,
    violating: pods.violating.length,
    permitted: pods.permitted.length,
    unknown: pods.unknown.length,
    weakened: pods.weakened.length,
    sandboxed: pods.sandboxedUids.length,
  };
  const problems = sandboxes?.problems.map(({ namespace: _, name: __, uid: ___, ...problem }) => problem);
  return { ...report, pods: counts, sandboxes: sandboxes && { ...sandboxes, problems } };
}

async function fleetLogs(context: Context): Promise<readonly Entry[]> {
  const { api } = context;
  const found = await api
    .list<V1Pod>(podsPath(api), { labelSelector: FLEET_SELECTOR })
    .catch(() => undefined);
  return (found?.items ?? []).flatMap(({ metadata, status }) =>
    logEntries(context, metadata.name, status?.containerStatuses?.[0]?.restartCount ?? 0),
  );
}

/** The end of a pod's log, and of that before its last restart. */
function logEntries({ api }: Context, pod: string, restarts: number): Entry[] {
  const read = (query: string) => async () => {
    const path = `${podsPath(api)}/${pod}/log?timestamps=true&tailLines=10000&limitBytes=${MAX_LOG_BYTES}${query}`;
    const { code, text } = await api.getText(path, LOG_TIMEOUT_MS);
    if (code !== 200) throw new Error(`the API server answers ${code}: ${text.slice(0, 300)}`);
    return text;
  };
  return [
    [`logs/${pod}.log`, read('')],
    ...(restarts === 0 ? [] : [[`logs/${pod}.previous.log`, read('&previous=true')] as const]),
  ];
}
