/**
 * The domain of all keys. The admission plugin NodeRestriction lets no kubelet write labels of it, so that a kubelet's
 * credential does not forge them.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
 */
const DOMAIN = 'gvisor.node-restriction.kubernetes.io';

/** Every key that agents write in a Node, besides the condition; the admission policy holds the same list. */
export const OWN_KEYS = {
  labels: {
    ready: `${DOMAIN}/ready`,
    runscVersion: `${DOMAIN}/runsc-version`,
    platform: `${DOMAIN}/platform`,
  },
  annotations: {
    /** The fingerprint of the agent that proved it. */
    provenBy: `${DOMAIN}/proven-by`,
    /** The boot ID of the node at the last proof, as in `status.nodeInfo.bootID`. */
    provenBoot: `${DOMAIN}/proven-boot`,
  },
  /** What earlier versions wrote besides; only an uninstall touches it. */
  retired: { agent: `${DOMAIN}/agent` },
  taint: `${DOMAIN}/not-ready`,
  /** A label that the admission policy lets no agent write. */
  refused: `${DOMAIN}/unguarded`,
} as const;
