package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoRAs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one.safetensors", "two.safetensors"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func(body, folder string) ([]string, []problem) {
		f := &fields{values: map[string]json.RawMessage{"loras": json.RawMessage(body)}}
		var got []string
		for _, l := range f.loras("loras", folder) {
			got = append(got, filepath.Base(l.Path)+" "+l.Strengths.String())
		}
		return got, f.problems
	}
	got, problems := read(`["one", "two:0.5", {"name": "one", "strength": -1}, {"name": "two", "strength": "te=0:unet=1"}, {"name": "one", "strength": null}]`, dir)
	want := "one.safetensors 1, two.safetensors 0.5, one.safetensors -1, two.safetensors te1=0:te2=0:unet=1, one.safetensors 1"
	if strings.Join(got, ", ") != want || problems != nil {
		t.Errorf("got %s, %v", strings.Join(got, ", "), problems)
	}
	if got, problems := read("null", dir); got != nil || problems != nil {
		t.Errorf("null: %v, %v", got, problems)
	}
	for body, want := range map[string]string{
		`["three"]`: `adapters: no adapter "three"; there are: one, two`, `["../one"]`: "no adapter", `[1]`: `must be "NAME"`, `[{"strength": 1}]`: `must be "NAME"`,
		`[{"name": "one", "strength": [1]}]`: "allowed: numbers", `["one:much"]`: "allowed: numbers", `"one"`: "valid list", `[null]`: "valid string", `["one", "two", "/etc/passwd"]`: "no adapter",
	} {
		_, problems := read(body, dir)
		if len(problems) != 1 || !strings.Contains(problems[0].Msg, want) || strings.Contains(problems[0].Msg, dir) {
			t.Errorf("%s: %v, want %q", body, problems, want)
		}
	}
	gone := filepath.Join(dir, "gone")
	if _, problems := read(`["one"]`, gone); len(problems) != 1 || !strings.HasSuffix(problems[0].Msg, "folder of adapters can't be read") {
		t.Errorf("a folder that is gone: %v", problems)
	}
	if _, problems := read(`["one"]`, ""); len(problems) != 1 || !strings.Contains(problems[0].Msg, "-lora-dir") {
		t.Errorf("without a folder: %v", problems)
	}
}
