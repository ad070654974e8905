/** Output of the chart's test; Helm 4 wraps it in log lines. */
export const TEST_PASSED = /This pod runs in gVisor: Linux version \S+ #1 SMP Sun Jan 10 15:06:54 PST 2016/;

/** Output of the chart's uninstall in a cluster of two nodes. */
export const UNINSTALLED = /2 of 2 nodes to clean/;
