package cli

import (
	"bytes"
	"errors"
	"flag"
	"runtime/debug"
	"strings"
	"testing"
)

func flags(output *bytes.Buffer) (*flag.FlagSet, *DeviceFlags) {
	fs := flag.NewFlagSet("prog", flag.ContinueOnError)
	fs.SetOutput(output)
	fs.String("model", "", "the model `DIR`")
	fs.String("prompt", "", "the `text`")
	d := &DeviceFlags{}
	d.Register(fs)
	return fs, d
}

func TestParseAndExit(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"-model m -prompt p", StatusOK, ""},
		{"", StatusUsage, "prog: missing -model, -prompt\n"},
		{"-model m", StatusUsage, "prog: missing -prompt\n"},
		{"-model m -prompt p stray", StatusUsage, `prog: unexpected argument "stray"`},
		{"-model m -prompt p -threads x", StatusUsage, `invalid value "x" for flag -threads`},
		{"-nonsense", StatusUsage, "prog: flag provided but not defined: -nonsense\n"},
		{"-h", StatusOK, "Usage of prog:"},
	} {
		var output bytes.Buffer
		fs, _ := flags(&output)
		err := Parse(fs, strings.Fields(c.args), "model", "prompt")
		if output.Len() > 0 {
			t.Errorf("%q: Parse wrote %q", c.args, &output)
		}
		if got := Exit(fs, err); got != c.status {
			t.Errorf("%q: status %d, want %d", c.args, got, c.status)
		}
		if !strings.Contains(output.String(), c.says) || c.says == "" && output.Len() > 0 {
			t.Errorf("%q: wrote %q, want %q in it", c.args, &output, c.says)
		}
		if usage := strings.Count(output.String(), "Usage of prog"); err != nil && usage != 1 {
			t.Errorf("%q: the flags are listed %d times", c.args, usage)
		}
	}
	var output bytes.Buffer
	fs, _ := flags(&output)
	if got := Exit(fs, errors.New("no such model")); got != StatusFailed || output.String() != "prog: no such model\n" {
		t.Errorf("status %d, wrote %q", got, &output)
	}
}

func TestVersion(t *testing.T) {
	built := func(v string, settings ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{Main: debug.Module{Version: v}}
		for i := 0; i < len(settings); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return info
	}
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3":                     built("v1.2.3"),
		"devel":                      built("(devel)"),
		"devel-0123456789ab":         built("(devel)", "vcs.revision", "0123456789abcdef", "vcs.modified", "false"),
		"devel-0123456789ab+changes": built("", "vcs.revision", "0123456789abcdef", "vcs.modified", "true"),
	} {
		if got := version(info); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if Version() == "" {
		t.Error("no version")
	}
}
