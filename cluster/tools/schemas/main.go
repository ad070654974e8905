// Schemas reads one document from standard input and holds it strictly to the schema of the program that
// will read it: a dashboard (JSON) to Grafana's, any other kind (YAML) to the Prometheus operator's.
// usage: schemas dashboard|PodMonitor|PrometheusRule
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := check(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: schemas dashboard|PodMonitor|PrometheusRule < document")
	}
	document, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	switch kind := args[0]; kind {
	case "dashboard":
		plugins.RegisterDefaultPlugins()
		return strict(&dashboard.Dashboard{}, document)
	case "PodMonitor":
		return yaml.UnmarshalStrict(document, &monitoring.PodMonitor{})
	case "PrometheusRule":
		return yaml.UnmarshalStrict(document, &monitoring.PrometheusRule{})
	default:
		return fmt.Errorf("no schema for %q", kind)
	}
}

// strict gives nil when nothing is wrong: Grafana's decoder gives an empty list, which is not nil.
func strict(read *dashboard.Dashboard, document []byte) error {
	err := read.UnmarshalJSONStrict(document)
	var found cog.BuildErrors
	if errors.As(err, &found) && len(found) == 0 {
		return nil
	}
	return err
}
