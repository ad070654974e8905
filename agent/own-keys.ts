/** Every key that agents write in a Node, besides the condition; the admission policy holds the same list. */
export function ownKeys(domain: string) {
  return {
    labels: {
      ready: `${domain}/ready`,
      runscVersion: `${domain}/runsc-version`,
      platform: `${domain}/platform`,
    },
    annotations: {
      /** Which agent writes the Node. */
      agent: `${domain}/agent`,
      /** Which edition of the agent proved it. */
      provenBy: `${domain}/proven-by`,
    },
    taint: `${domain}/not-ready`,
  } as const;
}
