package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// change replaces text of a file, which must be there.
func change(t *testing.T, file, old, new string) {
	t.Helper()
	content := string(read(t, file))
	if !strings.Contains(content, old) {
		t.Fatalf("%s does not hold %s", file, old)
	}
	write(t, file, strings.Replace(content, old, new, 1))
}

// TestUnknownSettings draws with a folder whose files say more than goxl knows: the same image, and a warning that
// -quiet does not silence.
func TestUnknownSettings(t *testing.T) {
	dir := synthesised(t, "base")
	plain, other := t.TempDir(), t.TempDir()
	must(t, tiny(plain, "-model", dir)...)
	unet := filepath.Join(dir, "unet", "config.json")
	change(t, unet, "{", `{"own_setting": 1, `)
	change(t, filepath.Join(dir, "model_index.json"), "{", `{"own_part": ["mine", "Part"], `)
	drawn := must(t, tiny(other, "-model", dir)...)
	if !bytes.Equal(pixels(t, filepath.Join(plain, "out.png")), pixels(t, filepath.Join(other, "out.png"))) {
		t.Error("another image")
	}
	inspected := must(t, "inspect", dir)
	for what, said := range map[string]string{"generate": drawn.err, "inspect": inspected.out} {
		for _, want := range []string{"unknown settings are left out", unet, "own_setting", "own_part"} {
			if !strings.Contains(said, want) {
				t.Errorf("%s does not say %q:\n%s", what, want, said)
			}
		}
	}
	// A problem elsewhere does not hide them.
	change(t, filepath.Join(dir, "vae", "config.json"), `"silu"`, `"gelu"`)
	if a := goxl(t, "inspect", dir); a.status != 1 || !strings.Contains(a.out, "own_setting") || !strings.Contains(a.out, `"act_fn" is "gelu"`) {
		t.Errorf("inspect: status %d:\n%s", a.status, a.out)
	}
}

// TestSchedulerNotBuiltIn says which class a folder asks for and how to go on, and goes on so.
func TestSchedulerNotBuiltIn(t *testing.T) {
	dir := synthesised(t, "base")
	plain, other := t.TempDir(), t.TempDir()
	must(t, tiny(plain, "-model", dir, "-scheduler", "dpmpp_2m")...)
	change(t, filepath.Join(dir, "scheduler", "scheduler_config.json"), `"EulerDiscreteScheduler"`, `"IPNDMScheduler"`)
	a := goxl(t, tiny(other, "-model", dir)...)
	if a.status != 2 || !strings.Contains(a.err, "-scheduler the model's own IPNDMScheduler: must be one of ") || strings.Contains(a.err, "1 to 0") {
		t.Errorf("generate: status %d:\n%s", a.status, a.err)
	}
	empty(t, other)
	a = goxl(t, "inspect", dir)
	for _, want := range []string{`"IPNDMScheduler" is not built in`, "-scheduler NAME", "ddim, ", "problems"} {
		if a.status != 1 || !strings.Contains(a.out, want) {
			t.Errorf("inspect: status %d, does not say %q:\n%s", a.status, want, a.out)
		}
	}
	must(t, tiny(other, "-model", dir, "-scheduler", "dpmpp_2m")...)
	if !bytes.Equal(pixels(t, filepath.Join(plain, "out.png")), pixels(t, filepath.Join(other, "out.png"))) {
		t.Error("another image")
	}
}
