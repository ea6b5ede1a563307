//go:build otel

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// flushTime is what the last spans may take to be sent when the server ends.
const flushTime = 5 * time.Second

// openTraces gives what sends spans by OTLP over HTTP as the environment says (OTEL_EXPORTER_OTLP_ENDPOINT and so on, see
// opentelemetry.io), nil where that asks for none. end sends what is left.
func openTraces(log *slog.Logger, version string) (p trace.TracerProvider, end func(), err error) {
	end = func() {}
	wanted, err := wantsTraces(os.Getenv)
	if err != nil || !wanted {
		return nil, end, err
	}
	ctx := context.Background()
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, end, fmt.Errorf("traces: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "goxl"), attribute.String("service.version", version)),
		resource.WithFromEnv()) // last, so that OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
	if err != nil {
		return nil, end, fmt.Errorf("traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("traces can't be sent", slog.String("error", err.Error()))
	}))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return provider, func() {
		ctx, cancel := context.WithTimeout(ctx, flushTime)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("traces can't be sent", slog.String("error", err.Error()))
		}
	}, nil
}
