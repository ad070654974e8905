import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkNetwork } from '../../../agent/checks/network.ts';
import { mountedHost } from '../../lib/host/temp-host.ts';
import { criStatus, type Files, fakeCri, inspect, loadedRuntime, outcome, sourcesOf } from './fake-node.ts';

const OWN = '/etc/cni/own.d';
const BRIDGE = JSON.stringify({ plugins: [{ type: 'bridge', ipam: { type: 'host-local' } }] });
const DIRECTORIES = ['/opt/cni/bin', '/usr/lib/cni'];
const PLUGINS = { '/opt/cni/bin/bridge': '', '/usr/lib/cni/host-local': '' };

type Network = {
  readonly own?: boolean;
  readonly files?: Files;
  readonly error?: string;
  /** The parts of the host that the agent sees. */
  readonly visible?: readonly string[];
};

const TABLE: readonly (readonly [what: string, Network, expected: string, message: RegExp])[] = [
  ["passes with the node's network", { files: PLUGINS }, 'pass', /the node's network, whose plugins are in/],
  [
    "warns of the node's without a plugin",
    {},
    'warning NetworkNotReady',
    /^No pod gets .* "bridge" is not in/,
  ],
  [
    'passes with one of the handler, whose plugins are there',
    { own: true, files: { ...PLUGINS, [`${OWN}/10-a.conflist`]: BRIDGE } },
    'pass',
    /whose plugins are in/,
  ],
  [
    'blocks if a plugin for IP addresses of its own is not there',
    { own: true, files: { '/opt/cni/bin/bridge': '', [`${OWN}/10-a.conflist`]: BRIDGE } },
    'blocker NetworkNotReady',
    /^No pod of the handler "runsc" gets .* "host-local" is not in \/opt\/cni\/bin and \/usr\/lib\/cni$/,
  ],
  [
    'reads the first of its configurations, of one plugin',
    { own: true, files: { ...PLUGINS, [`${OWN}/a.conf`]: '{"type": "no-such"}', [`${OWN}/b.conf`]: '{}' } },
    'blocker NetworkNotReady',
    /"no-such"/,
  ],
  [
    "blocks while containerd has no network from the handler's directory",
    { own: true, error: 'no network config found in /etc/cni/own.d' },
    'blocker NetworkNotReady',
    /cni_conf_dir "\/etc\/cni\/own.d": no network config found/,
  ],
  [
    'says if it does not see where plugins are',
    { files: { '/usr/lib/cni/loopback': '' }, visible: ['usr', 'etc'] },
    'pass',
    /not visible to the agent$/,
  ],
];

describe('network', () => {
  for (const [what, { own, files = {}, error, visible = ['etc', 'usr', 'opt'] }, expected, message] of TABLE)
    it(what, async (t) => {
      const host = await mountedHost(t, visible, { '/etc/hosts': '', ...files });
      const status = criStatus('v2.4.2', { runsc: loadedRuntime({ cniConfDir: own ? OWN : '' }) });
      const cni = { plugins: ['bridge', 'host-local'], directories: DIRECTORIES };
      const cniErrors = new Map(error === undefined ? [] : [['runsc', error]]);
      const cri = fakeCri({ ...status, cni, cniErrors });
      const result = await inspect(checkNetwork, sourcesOf('', { host, cri }));
      assert.equal(outcome(result), expected, result.message);
      assert.match(result.message, message);
    });
});
