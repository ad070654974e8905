import { posix } from 'node:path';
import { pooledMap } from '../../lib/base/async.ts';
import { blocker, type CheckResult, pass, skip, warning } from '../../lib/checks/finding.ts';
import { readPlugins } from '../../lib/containerd/cni.ts';
import type { Host } from '../../lib/host/host.ts';
import type { CheckInputs } from './check.ts';

const CONCURRENCY = 4;

/** The sandbox of a proof needs no network, and each pod does. */
export async function checkNetwork(inputs: CheckInputs): Promise<CheckResult> {
  const { handler, host } = inputs.sources;
  const { runtimes, cniErrors, cni } = await inputs.status();
  const { cniConfDir: file } = runtimes.get(handler) ?? {};
  if (file === undefined) return skip(`The handler "${handler}" is not loaded`);
  const error = cniErrors.get(handler);
  if (file !== '' && error !== undefined) {
    const message = `No pod of the handler "${handler}" starts, because containerd has no network from its cni_conf_dir "${file}": ${error}`;
    return blocker('NetworkNotReady', message, [{ file, value: error }]);
  }
  const plugins = file === '' ? cni.plugins : await readPlugins(host, file);
  const places = await pooledMap(plugins, CONCURRENCY, (plugin) => find(host, cni.directories, plugin));
  const absent = plugins.find((_, at) => places[at] === 'absent');
  const where = cni.directories.join(' and ');
  if (absent !== undefined) {
    // Without the node's network no other pod starts either, which is not for this label to tell.
    const [result, whose] =
      file === '' ? [warning, 'No pod'] : [blocker, `No pod of the handler "${handler}"`];
    const message = `${whose} gets a network, because the CNI plugin "${absent}" is not in ${where}`;
    const evidence = cni.directories.map((directory) => posix.join(directory, absent));
    return result(
      'NetworkNotReady',
      message,
      evidence.map((path) => ({ file: path, value: 'not there' })),
    );
  }
  const network = file === '' ? "the node's network" : `the network of its cni_conf_dir "${file}"`;
  const isSeen = plugins.length > 0 && places.every((place) => place === 'there');
  const what = isSeen ? `whose plugins are in ${where}` : 'whose plugins are not visible to the agent';
  return pass(`The handler "${handler}" uses ${network}, ${what}`);
}

/** Unseen if the agent does not see each of these directories, and the plugin in none. */
async function find(
  host: Host,
  directories: readonly string[],
  plugin: string,
): Promise<'there' | 'absent' | 'unseen'> {
  const found = await pooledMap(directories, CONCURRENCY, (directory) =>
    host.stat(posix.join(directory, plugin)).catch(() => 'unseen' as const),
  );
  if (found.some((file) => typeof file === 'object')) return 'there';
  return found.includes('unseen') || directories.length === 0 ? 'unseen' : 'absent';
}
