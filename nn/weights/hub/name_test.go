package hub

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseName(t *testing.T) {
	for s, want := range map[string]Name{
		"stabilityai/stable-diffusion-xl-base-1.0": {"stabilityai/stable-diffusion-xl-base-1.0", "", "main"},
		"a/b@fp16":              {"a/b", "", "fp16"},
		"a/b@refs/pr/3":         {"a/b", "", "refs/pr/3"},
		"a_b/c.d@" + testCommit: {"a_b/c.d", "", testCommit},
		"ByteDance/SDXL-Lightning/lora.safetensors": {"ByteDance/SDXL-Lightning", "lora.safetensors", "main"},
		"a/b/c/d.safetensors@v1":                    {"a/b", "c/d.safetensors", "v1"},
	} {
		got, err := ParseName(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "a", "/a/b", "a/", "a/b/", "a//b", "../b", "a/..", "a/b/../c", "a/b@", "a/b@../x", "a/b@x/", "a/b@x//y", "a/b@x y", "-a/b", "a/b.", "a/b--c", "a/b..c", "a/b.git",
		"a\\b/c", "a/b/c\\d", "a/b:c", "a/b/c:d", "a/b\x00", "a b/c", "é/b", "~/b", "a/" + strings.Repeat("b", 97), "a/b@@c", "./a", "a/b/./c",
	} {
		if n, err := ParseName(s); err == nil || !strings.Contains(err.Error(), "must be ORG/NAME") {
			t.Errorf("%q: %+v, %v", s, n, err)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "token"), []byte("hf_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		set  map[string]string
		want Settings
	}{
		{map[string]string{"HOME": "/users/x"}, Settings{"https://huggingface.co", "/users/x/.cache/huggingface/hub", "", false}},
		{map[string]string{"HOME": "/users/x", "XDG_CACHE_HOME": "/var/cache"}, Settings{"https://huggingface.co", "/var/cache/huggingface/hub", "", false}},
		{map[string]string{"HF_HOME": home, "HF_ENDPOINT": "http://localhost:1/"}, Settings{"http://localhost:1", home + "/hub", "hf_file", false}},
		{map[string]string{"HF_HOME": home, "HF_TOKEN": " hf_set ", "HF_HUB_CACHE": "/c", "HF_HUB_OFFLINE": "yes"}, Settings{"https://huggingface.co", "/c", "hf_set", true}},
		{map[string]string{"HOME": "/users/x", "HF_HOME": "~/hf", "HUGGINGFACE_HUB_CACHE": "$HOME/c", "TRANSFORMERS_OFFLINE": "1"}, Settings{"https://huggingface.co", "/users/x/c", "", true}},
		{map[string]string{"HF_HOME": "/none", "HF_TOKEN_PATH": home + "/token", "HF_HUB_OFFLINE": "0"}, Settings{"https://huggingface.co", "/none/hub", "hf_file", false}},
	} {
		for _, name := range []string{"HF_HOME", "XDG_CACHE_HOME", "HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
			t.Setenv(name, test.set[name])
		}
		if home := test.set["HOME"]; home != "" {
			t.Setenv("HOME", home)
		}
		if got := FromEnvironment(); got != test.want {
			t.Errorf("%v: %+v, want %+v", test.set, got, test.want)
		}
	}
}

// TestMeter: the rate is of the last seconds and of what comes over the network, the time left is of the rest.
func TestMeter(t *testing.T) {
	at := time.Unix(0, 0)
	var last Progress
	calls := 0
	m := &meter{call: func(p Progress) { last = p; calls++ }, now: func() time.Time { return at }}
	m.Total, m.Bytes = 100_000, 20_000 // of an earlier try
	for range 40 {
		m.add(1000)
		at = at.Add(500 * time.Millisecond)
	}
	if last.Rate < 1990 || last.Rate > 2110 || last.Bytes != 60_000 || calls != 40 {
		t.Errorf("after 20 s: %+v of %d calls, want 2000 bytes a second", last, calls)
	}
	if left := last.Left.Seconds(); left < 18 || left > 21 {
		t.Errorf("%v left", last.Left)
	}
	m.add(1)
	m.add(1)
	if calls != 41 {
		t.Errorf("%d calls in one instant", calls-40)
	}
}
