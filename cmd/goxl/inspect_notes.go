package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// noteTaker makes notes of an open model's warnings.
type noteTaker struct{ *inspection }

// Enabled implements slog.Handler.
func (noteTaker) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (n noteTaker) Handle(_ context.Context, r slog.Record) error {
	var attrs []slog.Attr
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	n.notes = append(n.notes, note(r.Message, attrs...))
	return nil
}

// WithAttrs implements slog.Handler: nothing that is noted carries any.
func (n noteTaker) WithAttrs([]slog.Attr) slog.Handler { return n }

// WithGroup implements slog.Handler, as WithAttrs does.
func (n noteTaker) WithGroup(string) slog.Handler { return n }

// note is a warning as a line of the list of notes.
func note(message string, attrs ...slog.Attr) string {
	var all []string
	for _, a := range attrs {
		all = append(all, fmt.Sprintf("%s %v", a.Key, a.Value))
	}
	if len(all) > 0 {
		message += " (" + strings.Join(all, ", ") + ")"
	}
	return message
}
