package main

import (
	"context"
	"io"
	"log/slog"
)

// terminalLog is a slog.Handler for people: a line is the message with what belongs to it, without time and level, and
// begins with "warning: " from that level on.
type terminalLog struct {
	w     io.Writer
	least slog.Level
	attrs []slog.Attr
}

// logTo is a logger for a terminal.
func logTo(w io.Writer, least slog.Level) *slog.Logger {
	return slog.New(terminalLog{w: w, least: least})
}

// Enabled implements slog.Handler.
func (t terminalLog) Enabled(_ context.Context, level slog.Level) bool { return level >= t.least }

// Handle implements slog.Handler. It writes a line in one call, so that lines of several goroutines stay whole.
func (t terminalLog) Handle(_ context.Context, r slog.Record) error {
	attrs := t.attrs[:len(t.attrs):len(t.attrs)]
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	line := note(r.Message, attrs...) + "\n"
	if r.Level >= slog.LevelWarn {
		line = "warning: " + line
	}
	_, err := io.WriteString(t.w, line)
	return err
}

// WithAttrs implements slog.Handler.
func (t terminalLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	t.attrs = append(t.attrs[:len(t.attrs):len(t.attrs)], attrs...)
	return t
}

// WithGroup implements slog.Handler: nothing that is logged here has groups.
func (t terminalLog) WithGroup(string) slog.Handler { return t }
