import { CONTAINERD_CONFIG, kubeletCommand, LOADED_CONFIG, type NodeSpec } from './config.ts';
import type { NodeDaemon } from './system.ts';

/** The systemd unit of a daemon, as the packages of distributions have it. */
export function unitOf(name: NodeDaemon, spec: NodeSpec): string {
  return name === 'containerd' ? CONTAINERD_UNIT : kubeletUnit(spec);
}

const CONTAINERD_UNIT = `[Unit]
Description=containerd container runtime
After=network.target local-fs.target dbus.service

[Service]
ExecStartPre=-/sbin/modprobe overlay
ExecStartPre=-/bin/cp ${CONTAINERD_CONFIG} ${LOADED_CONFIG}
ExecStart=/usr/local/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999
TimeoutStartSec=300
TimeoutStopSec=90

[Install]
WantedBy=multi-user.target
`;

function kubeletUnit(spec: NodeSpec): string {
  return `[Unit]
Description=kubelet
Wants=network-online.target containerd.service
After=network-online.target containerd.service

[Service]
ExecStart=/usr/local/bin/${kubeletCommand(spec).join(' ')}
Restart=always
StartLimitInterval=0
TimeoutStopSec=90
RestartSec=5

[Install]
WantedBy=multi-user.target
`;
}
