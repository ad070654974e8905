import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { KubeAccess } from './connections.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Ways to a credential or a server that this agent does not go, and what to do instead. */
const REFUSED: Readonly<Record<string, string>> = {
  exec: 'gets its credential from a program (exec), which this agent does not run',
  'auth-provider': 'has an auth-provider, which no Kubernetes client supports since 1.26',
  username: 'has a name and a password, which no API server accepts since 1.19',
  as: 'impersonates another user, which this agent does not do',
};
const INSTEAD =
  'make a token with `kubectl create token` for a service account that may write nodes, and put it into the user as `token`, or use a client certificate';

/**
 * What the current context of a kubeconfig says, for an agent that runs outside of the cluster. Rejects with
 * the file, the entry and what to do when something is missing or is not supported.
 * Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
 */
export async function kubeconfigAccess(path: string): Promise<KubeAccess> {
  const config = await readKubeconfig(path);
  const name = text(config, 'current-context');
  if (name === undefined)
    throw new Error(
      `kubeconfig "${path}" has no current-context: set one with \`kubectl config use-context\``,
    );
  const context = entry(config, 'context', name, path);
  const clusterName = text(context, 'cluster') ?? '';
  const userName = text(context, 'user') ?? '';
  const cluster = entry(config, 'cluster', clusterName, path);
  const user = entry(config, 'user', userName, path);
  for (const [key, why] of Object.entries(REFUSED)) {
    if (user[key] !== undefined)
      throw new Error(`The user "${userName}" of kubeconfig "${path}" ${why}: ${INSTEAD}`);
  }
  const where = `The cluster "${clusterName}" of kubeconfig "${path}"`;
  const server = text(cluster, 'server')?.replace(/\/+$/, '') ?? '';
  if (!/^https?:\/\/[^/]/.test(server)) throw new Error(`${where} has no server with https://: set one`);
  if (cluster['proxy-url'] !== undefined)
    throw new Error(`${where} has a proxy-url, which this agent does not use: remove it where it can be`);

  const insecure = cluster['insecure-skip-tls-verify'] === true;
  const servername = text(cluster, 'tls-server-name');
  const pem = (fields: Fields, key: string) => pemOf(fields, key, path);
  const ca = insecure ? undefined : await pem(cluster, 'certificate-authority');
  const cert = await pem(user, 'client-certificate');
  const key = await pem(user, 'client-key');
  const token = tokenOf(user, path);
  if (token === undefined && (cert === undefined || key === undefined))
    throw new Error(`The user "${userName}" of kubeconfig "${path}" has no credential: ${INSTEAD}`);
  const warnings = [
    ...(insecure
      ? [`${where} skips the check of the server's certificate: whoever answers is believed`]
      : []),
    ...(server.startsWith('http:') ? [`${where} is reached without TLS: everybody on the way can read`] : []),
  ];
  return {
    server,
    tls: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(servername === undefined ? {} : { servername }),
      ...(insecure ? { rejectUnauthorized: false } : {}),
    },
    ...(token === undefined ? {} : { token }),
    warnings,
  };
}

async function readKubeconfig(path: string): Promise<Fields> {
  // Only who has a kubeconfig pays for the parser: agents in a cluster never load it.
  const { parse } = await import('yaml');
  const content = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Error(`Cannot read kubeconfig "${path}"`, { cause });
  });
  try {
    const config: unknown = parse(content);
    if (isFields(config)) return config;
  } catch (cause) {
    throw new Error(`kubeconfig "${path}" is not YAML`, { cause });
  }
  throw new Error(`kubeconfig "${path}" holds no clusters, users and contexts`);
}

/** What the entry of that name says: `contexts: [{name, context: {…}}]`, and so on. */
function entry(config: Fields, kind: 'context' | 'cluster' | 'user', name: string, path: string): Fields {
  const list = config[`${kind}s`];
  const found = Array.isArray(list)
    ? list.find((each: unknown) => isFields(each) && each.name === name)
    : undefined;
  if (found === undefined) throw new Error(`kubeconfig "${path}" has no ${kind} "${name}"`);
  return isFields(found[kind]) ? found[kind] : {};
}

/** PEM that stands in `<key>-data` (base64, which wins) or in the file that `<key>` names. */
async function pemOf(fields: Fields, key: string, path: string): Promise<string | undefined> {
  const data = text(fields, `${key}-data`);
  if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8');
  const file = text(fields, key);
  return file === undefined ? undefined : readNamed(file, key, path);
}

/** A function that gives the token; a file is read each time, since somebody may replace it. */
function tokenOf(user: Fields, path: string): (() => Promise<string>) | undefined {
  const file = text(user, 'tokenFile');
  if (file !== undefined) return async () => (await readNamed(file, 'tokenFile', path)).trim();
  const token = text(user, 'token');
  return token === undefined ? undefined : () => Promise.resolve(token);
}

/** A file that a kubeconfig names, relative to the kubeconfig's own folder. */
function readNamed(file: string, key: string, path: string): Promise<string> {
  return readFile(resolve(dirname(path), file), 'utf8').catch((cause: unknown) => {
    throw new Error(`Cannot read "${file}", which kubeconfig "${path}" names as ${key}`, { cause });
  });
}

function text(fields: Fields, key: string): string | undefined {
  const value = fields[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
