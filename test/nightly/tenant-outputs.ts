import assert from 'node:assert/strict';
import { sentenceOf } from '../../agent/start/log.ts';
import { renderReport } from '../../agent/text/terminal.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import type { Status } from '../../lib/report/report.ts';
import { agentOn, DOMAIN, getFromAgentForwarded, readNode } from '../e2e/agents.ts';

/** The outputs of an agent, unchanged. */
export type Outputs = {
  readonly metrics: string;
  readonly page: string;
  readonly report: string;
  readonly log: string;
  /** The log as printed on a terminal. */
  readonly sentences: readonly string[];
  /** The report as printed on a terminal. */
  readonly terminal: string;
  /** Messages of its events on the Node and on pods. */
  readonly events: readonly string[];
  /** Its values in the Node's labels, annotations and condition. */
  readonly node: readonly string[];
};

export async function readOutputs(cluster: Cluster, node: string): Promise<Outputs> {
  const get = async (path: string) => {
    const { code, text } = await getFromAgentForwarded(cluster, node, path);
    assert.equal(code, 200, text.slice(0, 200));
    return text;
  };
  const { name } = await agentOn(cluster, node);
  const [metrics, page, report] = await Promise.all(['/metrics', '/', '/report'].map(get));
  const log = await cluster.get(`/api/v1/namespaces/gvisor-ready/pods/${name}/log`);
  const events = await cluster.get('/api/v1/events?fieldSelector=source%3Dgvisor-ready');
  const { items } = JSON.parse(events) as { readonly items: readonly { readonly message: string }[] };
  return {
    metrics: metrics ?? '',
    page: page ?? '',
    report: report ?? '',
    log,
    sentences: linesOf(log).map((line) => sentenceOf(line).replace(/\n$/, '')),
    terminal: renderReport(JSON.parse(report ?? '') as Status, { colored: false, width: 80 }),
    events: items.map(({ message }) => message),
    node: await writtenInto(cluster, node),
  };
}

async function writtenInto(cluster: Cluster, node: string): Promise<readonly string[]> {
  const { metadata, status } = await readNode(cluster, node);
  const values = [...Object.entries(metadata.labels), ...Object.entries(metadata.annotations)]
    .filter(([key]) => key.startsWith(DOMAIN))
    .map(([, value]) => value);
  const messages = status.conditions
    .filter(({ type }) => type === 'GVisorReady')
    .map(({ message }) => message);
  return [...values, ...messages];
}

/**
 * Control characters (except newline) and bidi overrides.
 * Sources: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html, https://unicode.org/reports/tr9/
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the characters that must not occur
const UNSAFE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const SAMPLE = /^(#.*|[a-z_]+(\{([a-z]+="[^"\n]*",?)*\})? \S+|)$/;

/** Asserts that outputs have no control characters and no forged metrics, and values in the Node no markup. */
export function assertSanitized({ sentences, events, node, ...texts }: Outputs): void {
  const { metrics, log } = texts;
  const samples = metrics.split('\n');
  assert.deepEqual(
    samples.filter((line) => !SAMPLE.test(line)),
    [],
  );
  assert.equal(
    samples.filter((line) => line.startsWith('gvisor_ready_node_status{status="True"} ')).length,
    1,
  );
  for (const line of linesOf(log)) assert.equal(typeof JSON.parse(line), 'object');
  assert.doesNotMatch(node.join(), /[<>]/);
  const values = { sentences, events, node };
  const multiline = Object.entries(values).filter(([, each]) => each.some((text) => text.includes('\n')));
  const unsafe = Object.entries({ ...texts, ...values }).filter(([, text]) => UNSAFE.test(String(text)));
  assert.deepEqual(
    { multiline: multiline.map(([name]) => name), unsafe: unsafe.map(([name]) => name) },
    { multiline: [], unsafe: [] },
    'a value has a newline, a control character or a bidi override',
  );
}

function linesOf(text: string): readonly string[] {
  return text.split('\n').filter((line) => line !== '');
}
