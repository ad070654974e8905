/** Whether a run tells rare stories too, on every containerd and gVisor: `test/nightly/other-tiers.test.ts`. */
export const RARE = process.env.RARE === 'yes';
