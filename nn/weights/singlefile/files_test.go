package singlefile_test

import (
	"testing"
	"testing/fstest"
)

// TestFiles: the configurations are a file system as the standard library's test of one has it.
func TestFiles(t *testing.T) {
	c := open(t, sparse(t, original(t, synthetic+"base"), map[string]string{
		"goxl:tokenizer/tokenizer.json": "{}", "goxl:goxl.json": "{}", "goxl:../x": "{}", "goxl:tokenizer/../tokenizer/x": "{}", "goxl:other/x": "{}",
	}))
	want := []string{"model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json", "text_encoder/config.json",
		"text_encoder_2/config.json", "tokenizer/tokenizer.json", "goxl.json"}
	if err := fstest.TestFS(c.Files(), want...); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"x", "other/x", "../x", "unet/x"} {
		if f, err := c.Files().Open(name); err == nil {
			f.Close()
			t.Errorf("there is a file %s", name)
		}
	}
}
