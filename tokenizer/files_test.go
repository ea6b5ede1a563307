package tokenizer_test

import (
	"bytes"
	"testing"
	"testing/fstest"

	"github.com/goxl/goxl/tokenizer"
)

// TestCLIPFiles loads the embedded vocabulary from its files, as transformers would: the ids of the golden texts are
// the published tokenizer's.
func TestCLIPFiles(t *testing.T) {
	files, err := tokenizer.CLIPFiles()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || !bytes.HasPrefix(files["merges.txt"], []byte("#version: 0.2\ni n\nt h\n")) || !bytes.HasPrefix(files["vocab.json"], []byte(`{"!":0,"\"":1,`)) {
		t.Fatalf("%d files", len(files))
	}
	config := func(pad string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(`{"pad_token": "` + pad + `", "tokenizer_class": "CLIPTokenizer"}`)}
	}
	folder := fstest.MapFS{"one/tokenizer_config.json": config("<|endoftext|>"), "two/tokenizer_config.json": config("!")}
	for name, data := range files {
		folder["one/"+name], folder["two/"+name] = &fstest.MapFile{Data: data}, &fstest.MapFile{Data: data}
	}
	without := fstest.MapFS{"one/tokenizer_config.json": config("<|endoftext|>"), "two/tokenizer_config.json": config("!")}
	g := loadGoldens(t)
	for _, set := range g.Sets {
		dir, ok := map[string]string{"clip": "one", "clip_2": "two"}[set.Name]
		if !ok {
			continue
		}
		loaded, err := tokenizer.Load(folder, dir)
		if err != nil {
			t.Fatal(err)
		}
		embedded, err := tokenizer.LoadCLIP(without, dir)
		if err != nil {
			t.Fatal(err)
		}
		for what, tok := range map[string]*tokenizer.Tokenizer{"loaded": loaded, "embedded": embedded} {
			if tok.BOS() != set.BOS || tok.EOS() != set.EOS || tok.Pad() != set.Pad || tok.VocabSize() != set.Size || tok.MaxLength() != set.MaxLength {
				t.Fatalf("%s: bos %d, eos %d, pad %d, %d ids, length %d", what, tok.BOS(), tok.EOS(), tok.Pad(), tok.VocabSize(), tok.MaxLength())
			}
			wrong := 0
			for i := 0; i < len(set.Cases); i += 5 { // TestGoldens has them all
				want := set.Cases[i]
				got, err := tok.Tokenize(g.Texts[i])
				if err != nil {
					t.Fatal(err)
				}
				if want == nil || !want.equal(got) {
					wrong++
				}
			}
			if wrong > 0 {
				t.Errorf("%s, %s: %d of %d texts are wrong", set.Name, what, wrong, len(set.Cases))
			}
		}
	}
}
