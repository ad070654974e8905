/**
 * `1.x` replaces whole plugin sections, `2.0` (to 2.2) merges then migrates, `2.3` migrates each file to
 * version 4 then merges.
 * https://github.com/containerd/containerd/blob/v2.3.0/cmd/containerd/server/config/config.go
 */
export type ConfigRules = '1.x' | '2.0' | '2.3';

/** Such as "v2.4.2", "1.7.24~ds1" or "2.1.5-k3s1". */
export type ContainerdRelease = { readonly major: number; readonly minor: number; readonly patch: number };

export function parseContainerdRelease(text: string): ContainerdRelease | undefined {
  const match = /^v?(\d+)\.(\d+)(?:\.(\d+))?(?!\d)/.exec(text.trim());
  if (!match) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? 0) };
}

export function rulesOf(release: ContainerdRelease): ConfigRules {
  if (release.major < 2) return '1.x';
  return release.major === 2 && release.minor < 3 ? '2.0' : '2.3';
}

/** The oldest rules that accept a file of this version. */
export function rulesForConfigVersion(version: number): ConfigRules {
  if (version >= 4) return '2.3';
  return version === 3 ? '2.0' : '1.x';
}

/**
 * gVisor pods start but cannot be stopped under 2.0.0 to 2.0.5, 2.1.0 and 2.1.1.
 * https://github.com/containerd/containerd/issues/11708
 */
export function cannotStopSandboxes(release: ContainerdRelease): boolean {
  const { major, minor, patch } = release;
  return major === 2 && ((minor === 0 && patch <= 5) || (minor === 1 && patch <= 1));
}
