import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CONTAINERD_CONFIG } from '../../cluster/node/config.ts';
import { RESTART } from '../../cluster/node/installer.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { waitForNode } from '../e2e/agents.ts';
import {
  containerdPid,
  install,
  installWords,
  NODES,
  putConfig,
  readConfig,
  removeWhenPodsEnded,
  runInstaller,
  shell,
  startContainerd,
  useInstallerNodes,
} from '../e2e/installer-nodes.ts';

const [OLD, NEW] = ['20250203.0', '20260223.0'] as const;
const PROGRAM = '/usr/local/bin/containerd';
const LONG = { timeout: patient(240_000) };
/** As a package, rsync or `cp -p` does it: the file keeps its time. */
const replaceFile = (file: string, command: string) =>
  `${command} ${file} >${file}.new; chmod --reference=${file} ${file}.new; touch -r ${file} ${file}.new; mv ${file}.new ${file}`;
const python = (call: string) => `python3 -c 'import os; ${call}'`;
const START_SECONDS = 600;
/** containerd has a process for ten minutes before it listens. */
const SLOW_START = `${RESTART}
echo >>/run/restarts
until [ "$(readlink /proc/$(cat /run/daemons/containerd)/exe)" = ${PROGRAM} ]; do :; done
kill -STOP $(cat /run/daemons/containerd)
setsid -f sh -c 'sleep ${START_SECONDS}; kill -CONT $(cat /run/daemons/containerd)'`;

const cluster = useInstallerNodes('company');

describe('the installer among others who change a node', { concurrency: true }, () => {
  for (const { name: node, containerd } of NODES)
    describe(`on containerd ${containerd}`, { concurrency: false }, () => {
      let original = '';
      const isReady = () => waitForNode(cluster(), node, ({ ready }) => ready === 'true', 120_000);
      /** Nothing restarts, and the file stays as somebody left it. */
      const refuses = async (because: RegExp) => {
        const before = [await containerdPid(node), await readConfig(node)];
        const { code, text } = await runInstaller(node, installWords(OLD));
        assert.deepEqual([code, because.test(text)], [1, true], text);
        assert.deepEqual([await containerdPid(node), await readConfig(node)], before);
      };

      it(
        'puts its handler back into a file that the platform wrote anew, and the agent says so until then',
        LONG,
        async () => {
          original = await readConfig(node);
          await install(node, NEW);
          await isReady();
          await putConfig(node, original);
          await waitForNode(cluster(), node, ({ condition }) => condition === 'False HandlerNotConfigured');
          await shell(node, python(`os.setxattr("${CONTAINERD_CONFIG}", "security.owner", b"ops")`));
          await install(node, NEW);
          await isReady();
          const kept = python(`print(os.getxattr("${CONTAINERD_CONFIG}", "security.owner"))`);
          assert.equal(await shell(node, kept), "b'ops'\n");
        },
      );

      it('activates no edit of others that waits for a restart', LONG, async () => {
        await shell(
          node,
          replaceFile(CONTAINERD_CONFIG, "sed 's/^\\(  restrict_oom_score_adj\\) = true/\\1 = false/'"),
        );
        await refuses(/not loaded: restrict_oom_score_adj: a restart would load more/);
        await shell(
          node,
          replaceFile(CONTAINERD_CONFIG, "sed 's/^\\(  restrict_oom_score_adj\\) = false/\\1 = true/'"),
        );
      });

      it('activates no containerd that was replaced on disk', LONG, async () => {
        await shell(node, replaceFile(PROGRAM, 'cat'));
        await refuses(/The program of containerd, ".*\/containerd", was replaced or deleted since/);
        await startContainerd(node);
        await install(node, OLD);
        await isReady();
      });

      it('takes a pod that ends during the restart for no failure', LONG, async () => {
        const pod = `ends-${node}`;
        const container = {
          command: ['sh', '-c', 'until [ -e /company/end ]; do sleep 0.1; done'],
          volumeMounts: [{ name: 'company', mountPath: '/company' }],
        };
        const volumes = [{ name: 'company', hostPath: { path: '/run/company', type: 'DirectoryOrCreate' } }];
        const spec = { nodeName: node, restartPolicy: 'Never', volumes };
        await runPod(cluster(), pod, evaluationPod(pod, { gvisor: false, container, spec }));
        const ends = RESTART.replace('\ncp ', '\ntouch /run/company/end; sleep 1\ncp ');
        assert.match(ends, /company/);
        const text = (await install(node, NEW, '--restart-command', ends)).replaceAll(/\s+/g, ' ');
        assert.match(
          text,
          new RegExp(`ended while containerd was away \\(exit code 255 or 137\\): default/${pod}`),
        );
        // containerd does not know how it ended.
        const code = [
          'get',
          'pod',
          pod,
          '-o',
          'jsonpath={.status.containerStatuses[0].state.terminated.exitCode}',
        ];
        await waitFor('its exit code', 60_000, async () => (await cluster().kubectl(code)) === '255');
        await cluster().kubectl(['delete', 'pod', pod]);
      });

      it('waits for a containerd that takes ten minutes to start, and restarts it once', {
        timeout: patient(1_200_000),
      }, async () => {
        const words = installWords(OLD, '--restart-command', SLOW_START);
        const { code, text } = await runInstaller(node, words, (START_SECONDS + 300) * 1_000);
        assert.equal(code, 0, text);
        assert.equal(await shell(node, 'cat /run/restarts'), '\n');
        await isReady();
        await removeWhenPodsEnded(node);
        assert.equal(await readConfig(node), original);
      });
    });
});
