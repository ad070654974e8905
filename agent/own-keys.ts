/** Every key that agents write in a Node, besides the condition; the admission policy holds the same list. */
export function ownKeys(domain: string) {
  return {
    labels: {
      ready: `${domain}/ready`,
      runscVersion: `${domain}/runsc-version`,
      platform: `${domain}/platform`,
    },
    annotations: {
      /** Which edition of the agent proved it. */
      provenBy: `${domain}/proven-by`,
    },
    /** What earlier versions wrote besides; only an uninstall touches it. */
    retired: { agent: `${domain}/agent` },
    taint: `${domain}/not-ready`,
  } as const;
}
