package main

import (
	"bytes"
	"log/slog"
	"testing"
)

func TestTerminalLog(t *testing.T) {
	var b bytes.Buffer
	log := logTo(&b, slog.LevelInfo)
	log.Debug("nothing")
	log.Info("LoRA a: 8 of 8 modules")
	log.With("file", "a.json").Warn("settings are left out", "keys", "x, y")
	if want := "LoRA a: 8 of 8 modules\nwarning: settings are left out (file a.json, keys x, y)\n"; b.String() != want {
		t.Errorf("%q, want %q", &b, want)
	}
}
