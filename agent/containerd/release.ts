/**
 * How a containerd release loads its configuration: `1.x` replaces whole plugin sections, `2.0` (to 2.2)
 * merges first and migrates afterwards, `2.3` migrates each file to version 4 and merges then.
 * https://github.com/containerd/containerd/blob/v2.3.0/cmd/containerd/server/config/config.go
 */
export type ConfigRules = '1.x' | '2.0' | '2.3';

/** A containerd release such as "v2.4.2", "1.7.24~ds1" or "2.1.5-k3s1", as numbers. */
export type ContainerdRelease = { readonly major: number; readonly minor: number; readonly patch: number };

/** Reads the version that CRI reports; `undefined` for a text of another form. */
export function parseContainerdRelease(text: string): ContainerdRelease | undefined {
  const match = /^v?(\d+)\.(\d+)(?:\.(\d+))?(?!\d)/.exec(text.trim());
  if (!match) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? 0) };
}

/** The rules of a known release. */
export function rulesOf(release: ContainerdRelease): ConfigRules {
  if (release.major < 2) return '1.x';
  return release.major === 2 && release.minor < 3 ? '2.0' : '2.3';
}

/** The oldest rules that read a file of this version, for when the release is not known. */
export function rulesForConfigVersion(version: number): ConfigRules {
  if (version >= 4) return '2.3';
  return version === 3 ? '2.0' : '1.x';
}

/** Highest configuration version that the rules accept; a higher one keeps containerd from starting. */
export function highestConfigVersion(rules: ConfigRules): number {
  return { '1.x': 2, '2.0': 3, '2.3': 4 }[rules];
}

/**
 * Whether this release refuses a drop-in whose version is higher than that of the first file that has one:
 * 2.3.0 to 2.3.4 do, 2.3.5 and 2.4 do not.
 * https://github.com/containerd/containerd/blob/v2.3.4/cmd/containerd/server/config/config.go
 */
export function refusesNewerDropIn(release: ContainerdRelease | undefined): boolean {
  return release?.major === 2 && release.minor === 3 && release.patch <= 4;
}

/**
 * Whether pods in gVisor start but never end under this release: 2.0.0 to 2.0.5, 2.1.0 and 2.1.1.
 * https://github.com/containerd/containerd/issues/11708
 */
export function cannotStopSandboxes(release: ContainerdRelease): boolean {
  const { major, minor, patch } = release;
  return major === 2 && ((minor === 0 && patch <= 5) || (minor === 1 && patch <= 1));
}
