// Command nvidia-toolkit changes containerd's files as nvidia-ctk-installer does at its start ("setup") and at its end ("cleanup"),
// by its own packages and defaults. It restarts nothing.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/NVIDIA/nvidia-container-toolkit/pkg/config/engine/containerd"
	"github.com/NVIDIA/nvidia-container-toolkit/pkg/config/toml"
)

const (
	topLevel = "/etc/containerd/config.toml"
	dropIn   = "/etc/containerd/conf.d/99-nvidia.toml"
	programs = "/usr/local/nvidia/toolkit/"
)

// Handlers and their programs.
var runtimes = map[string]string{
	"nvidia":        programs + "nvidia-container-runtime",
	"nvidia-cdi":    programs + "nvidia-container-runtime.cdi",
	"nvidia-legacy": programs + "nvidia-container-runtime.legacy",
}

func run(verb string) error {
	config, err := containerd.New(
		containerd.WithTopLevelConfigPath(topLevel),
		containerd.WithConfigSource(toml.LoadFirst(containerd.CommandLineSource("", ""), toml.FromFile(topLevel))),
		containerd.WithRuntimeType("io.containerd.runc.v2"),
	)
	if err != nil {
		return err
	}
	for name, program := range runtimes {
		switch verb {
		case "setup":
			err = config.AddRuntime(name, program, false)
		case "cleanup":
			err = config.RemoveRuntime(name)
		default:
			err = errors.New("the first argument is setup or cleanup")
		}
		if err != nil {
			return fmt.Errorf("cannot change %q: %w", name, err)
		}
	}
	if _, err := config.Save(dropIn); err != nil || verb == "setup" {
		return err
	}
	if err := os.Remove(dropIn); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func main() {
	if err := run(os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
