import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { breakAndWait, deployAgent, evaluationPod, healAndWait } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { removeEnforcement, waitForRollout } from './agents.ts';
import { useCluster } from './e2e-cluster.ts';
import { evaluate } from './plugin-fleet.ts';
import { type AskOptions, Plugin } from './plugin-run.ts';

const cluster = useCluster();
const NAMESPACE = 'evaluations';
const BASE = join(REPO, 'manifests/base');
const kubectl = (...args: readonly string[]) => cluster().kubectl(args, undefined, 120_000);
const apply = (object: string, ...args: readonly string[]) =>
  cluster().kubectl(['apply', ...args, '-f', '-'], object);

describe('kubectl gvisor-ready', () => {
  let plugin: Plugin;

  const shows = (mark: string, words: string, code: number, options: AskOptions = {}) =>
    plugin.shows(mark, words, code, options);

  before(async () => {
    plugin = await Plugin.open(cluster());
    await kubectl('delete', '-k', BASE, '--ignore-not-found');
  });
  after(async () => {
    await removeEnforcement(cluster());
    await kubectl('delete', 'namespace', NAMESPACE, '--ignore-not-found');
    await plugin.close();
  });

  it('says before installing that it can be installed', async () => {
    await shows('pre', 'check --pre', 0);
  });

  it('shows the fleet', async () => {
    await deployAgent(cluster(), BASE);
    await waitForRollout(cluster());
    await evaluate(cluster(), plugin);
    await shows('status', 'status', 1);
    await shows('nodes', 'nodes', 0);
    await shows('why-proven', 'why node-1', 0);
  });

  it('says which pods are in gVisor, and why one is not', async () => {
    const pods = await shows('pods', `pods -n ${NAMESPACE} -o wide`, 1);
    assert.match(pods, /^in +yes .*\nplain +no /m);
    await shows('why-plain', `why plain -n ${NAMESPACE}`, 1);
    await shows('check', 'check', 1);
  });

  it('says why the pods of a Deployment do not come', async () => {
    await kubectl('-n', NAMESPACE, 'create', 'deployment', 'web', '--image=busybox');
    const refused = async () =>
      (await plugin.ask(['why', 'web', '-n', NAMESPACE])).code === 1 ? true : undefined;
    await waitFor('the event of the refusal', 30_000, refused);
    await shows('why-refused', `why web -n ${NAMESPACE}`, 1);
    await kubectl('-n', NAMESPACE, 'delete', 'deployment', 'web');
  });

  it('follows a node whose shim goes and comes back, and says why a node and a pod for it wait', async (t) => {
    const watch = spawn('kubectl', ['gvisor-ready', 'nodes', '-w'], {
      env: plugin.env(),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => watch.kill());
    let printed = '';
    watch.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      printed += chunk;
    });
    const line = (pattern: RegExp) =>
      waitFor(`a line ${pattern}`, 30_000, async () => (pattern.test(printed) ? true : undefined));
    await line(/^node-3 .*\n/m);
    await breakAndWait(cluster(), 'node-1', 'shim-missing');
    await line(/^node-1 +false +ShimNotFound.*\n/m);
    await shows('why-broken', 'why node-1', 1);
    const pod = evaluationPod('waits', {
      gvisor: true,
      spec: { nodeSelector: { 'kubernetes.io/hostname': 'node-1' } },
    });
    await apply(pod, '-n', NAMESPACE);
    await waitFor('the scheduler to say why', 30_000, async () =>
      (await plugin.ask(['why', 'waits', '-n', NAMESPACE])).text.includes('nodes are available')
        ? true
        : undefined,
    );
    await shows('why-pending', `why waits -n ${NAMESPACE}`, 1);
    printed = printed.replace(/(ShimNotFound[^\n]*\n)[\s\S]*/, '$1');
    await healAndWait(cluster(), 'node-1');
    await line(/ShimNotFound.*\n(.*\n)*node-1 +true +SandboxProven.*\n/m);
    watch.kill('SIGINT');
    await once(watch, 'exit');
    const lines = printed.split('\n').filter((each) => each !== '');
    const changes = lines.filter(
      (each, at) => at < 4 || /(false +ShimNotFound|true +SandboxProven)/.test(each),
    );
    await plugin.holds('watch', 'nodes -w', 0, { code: 0, text: `${changes.join('\n')}\n` });
  });
});
