import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { replaceFile } from '../../hack/unfinished.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

/** PEM. */
export type Credential = { readonly cert: string; readonly key: string };

export type Authority = {
  readonly cert: string;
  /** `name` becomes the CN, `groups` the O; `hosts` are names and addresses of a server. */
  issue(name: string, groups?: readonly string[], hosts?: readonly string[]): Promise<Credential>;
};

/** The authority and its certificates are valid for 365 days. */
export async function openAuthority(dir: string): Promise<Authority> {
  const files = { cert: join(dir, 'ca.crt'), key: join(dir, 'ca.key') };
  if (!existsSync(files.key)) await writeAuthority(files);
  const cert = await readFile(files.cert, 'utf8');
  const ca = new X509Certificate(cert);
  const der = PemConverter.decodeFirst(await readFile(files.key, 'utf8'));
  const signingKey = await webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, true, ['sign']);
  return {
    cert,
    issue: async (commonName, groups = [], hosts = []) => {
      const own = await generateKeys();
      const issued = await X509CertificateGenerator.create({
        subject: [{ CN: [commonName] }, ...groups.map((group) => ({ O: [group] }))],
        issuer: ca.subject,
        ...validity(),
        publicKey: own.publicKey,
        signingKey,
        signingAlgorithm: ALGORITHM,
        extensions: extensionsFor(hosts),
      });
      return { cert: issued.toString('pem'), key: await keyPem(own.privateKey) };
    },
  };
}

async function writeAuthority(files: Credential): Promise<void> {
  const keys = await generateKeys();
  const ca = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=gvisor-ready test cluster',
    ...validity(),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.digitalSignature, true),
    ],
  });
  await replaceFile(files.cert, ca.toString('pem'));
  await replaceFile(files.key, await keyPem(keys.privateKey), 0o600); // last: marks both as written
}

/** PEM. */
export async function createSigningKeys(): Promise<{ readonly private: string; readonly public: string }> {
  const keys = await generateKeys();
  return {
    private: await keyPem(keys.privateKey),
    public: PemConverter.encode(await webcrypto.subtle.exportKey('spki', keys.publicKey), 'PUBLIC KEY'),
  };
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
}

function validity(): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + 365 * DAY_MS) };
}

function extensionsFor(hosts: readonly string[]) {
  const client = '1.3.6.1.5.5.7.3.2';
  const server = '1.3.6.1.5.5.7.3.1';
  if (hosts.length === 0) return [new ExtendedKeyUsageExtension([client])];
  const names = hosts.map((value) => ({ type: /^[\d.]+$/.test(value) ? 'ip' : 'dns', value }) as const);
  return [new ExtendedKeyUsageExtension([client, server]), new SubjectAlternativeNameExtension(names)];
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}
