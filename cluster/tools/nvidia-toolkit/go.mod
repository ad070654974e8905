module gvisor-ready/cluster/tools/nvidia-toolkit

go 1.26.0

require github.com/NVIDIA/nvidia-container-toolkit v1.20.2

require (
	github.com/pelletier/go-toml v1.9.5 // indirect
	github.com/sirupsen/logrus v1.9.4 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
