package main

import (
	"fmt"
	"strings"
)

// wantsTraces tells whether OpenTelemetry's environment asks for traces: it names an endpoint or the exporter, and turns
// nothing off.
func wantsTraces(getenv func(string) string) (bool, error) {
	for name, allowed := range map[string][]string{
		"OTEL_TRACES_EXPORTER":               {"otlp", "none"},
		"OTEL_EXPORTER_OTLP_PROTOCOL":        {"http/protobuf"},
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": {"http/protobuf"},
	} {
		value := getenv(name)
		if value == "" { // OpenTelemetry takes that for not set
			continue
		}
		if err := oneOf(allowed, value); err != nil {
			return false, fmt.Errorf("%s is %q: %w", name, value, err)
		}
	}
	exporter := getenv("OTEL_TRACES_EXPORTER")
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || exporter == "none" {
		return false, nil
	}
	return exporter == "otlp" || getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "", nil
}
