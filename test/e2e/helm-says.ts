/** What the chart's test says of gVisor; Helm 4 puts it into lines of its own log. */
export const PROVEN = /This pod runs in gVisor: Linux version \S+ #1 SMP Sun Jan 10 15:06:54 PST 2016/;

/** What the chart's uninstall says of a cluster of two nodes. */
export const CLEANED = /2 nodes, 2 of them with something of the agents/;
