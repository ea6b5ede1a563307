package tokenizer_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/goxl/goxl/tokenizer"
)

// copyFolder returns a folder of testdata/folders.zip as files that a test may change.
func copyFolder(t *testing.T, name string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	entries, err := fs.ReadDir(folders(t), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := fs.ReadFile(folders(t), path.Join(name, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[path.Join("tokenizer", e.Name())] = &fstest.MapFile{Data: data}
	}
	return files
}

// edit replaces text that must be there in a file of the folder.
func edit(file, old, new string) func(t *testing.T, files fstest.MapFS) {
	return func(t *testing.T, files fstest.MapFS) {
		t.Helper()
		f := files["tokenizer/"+file]
		if f == nil || !strings.Contains(string(f.Data), old) {
			t.Fatalf("%s does not hold %q", file, old)
		}
		f.Data = []byte(strings.Replace(string(f.Data), old, new, 1))
	}
}

// editJSON changes an object of the folder; a file that is not there starts empty.
func editJSON(file string, change func(object map[string]any)) func(t *testing.T, files fstest.MapFS) {
	return func(t *testing.T, files fstest.MapFS) {
		t.Helper()
		object := map[string]any{}
		if f := files["tokenizer/"+file]; f != nil {
			if err := json.Unmarshal(f.Data, &object); err != nil {
				t.Fatal(err)
			}
		}
		change(object)
		data, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		files["tokenizer/"+file] = &fstest.MapFile{Data: data}
	}
}

func set(key string, value any) func(map[string]any) {
	return func(object map[string]any) { object[key] = value }
}

func setIn(outer, key string, value any) func(map[string]any) {
	return func(object map[string]any) { object[outer].(map[string]any)[key] = value }
}

func remove(file string) func(t *testing.T, files fstest.MapFS) {
	return func(t *testing.T, files fstest.MapFS) { delete(files, "tokenizer/"+file) }
}

func TestLoadErrors(t *testing.T) {
	const (
		jsonFile, config, vocab, merges = "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"
	)
	for _, c := range []struct {
		folder string
		change func(t *testing.T, files fstest.MapFS)
		want   []string // parts of the error
	}{
		{"legacy", remove(vocab), []string{"tokenizer: tokenizer: neither tokenizer.json nor vocab.json"}},
		{"legacy", remove(merges), []string{"tokenizer/merges.txt"}},
		{"legacy", edit(vocab, "{", "["), []string{"tokenizer/vocab.json"}},
		{"legacy", edit(vocab, `"!": 0`, `"!": 0.5`), []string{"tokenizer/vocab.json", `"!"`, "0.5"}},
		{"legacy", edit(vocab, `"!": 0`, `"!": -1`), []string{"tokenizer/vocab.json", `"!"`, "-1"}},
		{"legacy", edit(vocab, `"!": 0`, `"!": "0"`), []string{"tokenizer/vocab.json", `"!"`}},
		{"legacy", edit(vocab, `"!": 0`, `"!": 0, "!": 0`), []string{"tokenizer/vocab.json", `"!"`, "twice"}},
		{"legacy", edit(vocab, `"!": 0`, `"!": 1`), []string{"tokenizer/vocab.json", "id 1", "two tokens"}},
		{"legacy", edit(vocab, `"!": 0`, `"!": 2002`), []string{"tokenizer/vocab.json", `"!" has id 2002`, "0 to 2001"}},
		{"legacy", edit(vocab, `"!": 0`, "\"!\xff\": 0"), []string{"tokenizer/vocab.json", "not valid UTF-8 at byte"}},
		{"legacy", edit(vocab, `"in": 512`, `"inn": 512`), []string{"tokenizer/merges.txt: line 2:", `"in" is not in the vocabulary`}},
		{"legacy", edit(vocab, `"<|startoftext|>"`, `"<|start|>"`), []string{"tokenizer/vocab.json", "bos_token", "<|startoftext|>"}},
		{"legacy", edit(merges, "t h\n", "t h e\n"), []string{"tokenizer/merges.txt: line 3:", `"t h e"`}},
		{"legacy", edit(merges, "t h\n", "\n"), []string{"tokenizer/merges.txt: line 3:"}},
		{"legacy", edit(merges, "t h\n", "t zzzz\n"), []string{"tokenizer/merges.txt: line 3:", `"zzzz"`}},
		{"legacy", edit(config, "{", ""), []string{"tokenizer/tokenizer_config.json"}},
		{"legacy", editJSON(config, set("tokenizer_class", "BertTokenizer")), []string{config, "BertTokenizer", "CLIPTokenizer"}},
		{"legacy", editJSON(config, set("padding_side", "left")), []string{config, "padding_side", "left", "right"}},
		{"legacy", editJSON(config, set("truncation_side", "left")), []string{config, "truncation_side"}},
		{"legacy", editJSON(config, set("model_max_length", 1)), []string{config, "model_max_length is 1", "2 to 65536"}},
		{"legacy", editJSON(config, set("model_max_length", 77.5)), []string{config, "model_max_length is 77.5"}},
		{"legacy", editJSON(config, set("model_max_length", "77")), []string{config, "model_max_length"}},
		{"legacy", editJSON(config, set("bos_token", 7)), []string{config, "bos_token", "7"}},
		{"legacy", editJSON(config, set("extra_special_tokens", map[string]any{"a": 7})), []string{config, "extra_special_tokens: a: 7"}},
		{"legacy", editJSON(config, set("extra_special_tokens", "x")), []string{config, "extra_special_tokens"}},
		{"legacy", editJSON("special_tokens_map.json", set("pad_token", "<new>")), []string{"pad_token", "<new>", "neither"}},
		{"legacy", editJSON("special_tokens_map.json", set("eos_token", []int{1})), []string{"special_tokens_map.json", "eos_token"}},
		{"legacy", editJSON("added_tokens.json", set("<new>", 7)), []string{"added_tokens.json", `"<new>" has id 7, want 2002`}},
		{"legacy", editJSON("added_tokens.json", set("<new>", "x")), []string{"added_tokens.json", "<new>"}},
		{"legacy", editJSON("added_tokens.json", func(o map[string]any) { o["<a>"], o["<b>"] = 2002, 2002 }), []string{"added_tokens.json", "id 2002", `"<a>" and "<b>"`}},
		{"legacy", editJSON("added_tokens.json", func(o map[string]any) { o["<a>"], o["<A>"] = 2002, 2003 }), []string{"added_tokens.json", "2002 and 2003 both match"}},
		{"legacy", editJSON("added_tokens.json", set("", 2002)), []string{"added_tokens.json", "2002 is empty"}},
		{"inversion", edit(config, `"2002":`, `"x":`), []string{config, "added_tokens_decoder", `"x"`}},
		{"inversion", edit(config, `"2002":`, `"2010":`), []string{config, `"<cat-toy>" has id 2010, want 2002`}},
		{"inversion", edit(config, `"content": "<cat-toy>"`, `"content": "!"`), []string{config, `"!" has two ids`}},
		{"small", edit(jsonFile, "{", ""), []string{"tokenizer/tokenizer.json"}},
		{"small", editJSON(jsonFile, setIn("model", "type", "WordPiece")), []string{jsonFile, `model.type is "WordPiece"`, `"BPE"`}},
		{"small", editJSON(jsonFile, setIn("model", "dropout", 0.1)), []string{jsonFile, "model.dropout is 0.1"}},
		{"small", editJSON(jsonFile, setIn("model", "end_of_word_suffix", nil)), []string{jsonFile, "model.end_of_word_suffix is missing"}},
		{"small", editJSON(jsonFile, setIn("model", "continuing_subword_prefix", "##")), []string{jsonFile, `model.continuing_subword_prefix is "##"`}},
		{"small", editJSON(jsonFile, setIn("model", "fuse_unk", true)), []string{jsonFile, "model.fuse_unk"}},
		{"small", editJSON(jsonFile, setIn("model", "byte_fallback", true)), []string{jsonFile, "model.byte_fallback"}},
		{"small", editJSON(jsonFile, setIn("model", "ignore_merges", true)), []string{jsonFile, "model.ignore_merges"}},
		{"small", editJSON(jsonFile, setIn("model", "vocab", []any{})), []string{jsonFile, "vocabulary is not an object"}},
		{"small", editJSON(jsonFile, setIn("model", "vocab", map[string]int{})), []string{jsonFile, "empty"}},
		{"small", editJSON(jsonFile, setIn("model", "merges", nil)), []string{jsonFile, "model.merges is missing"}},
		{"small", editJSON(jsonFile, setIn("model", "merges", []any{[]string{"a"}})), []string{jsonFile, "not a pair"}},
		{"small", editJSON(jsonFile, setIn("model", "merges", []any{"a b c"})), []string{jsonFile, `"a b c"`}},
		{"small", editJSON(jsonFile, setIn("model", "merges", []any{[]string{"a", "zzzz"}})), []string{jsonFile + ": model.merges[0]", `"zzzz"`}},
		{"small", editJSON(jsonFile, set("normalizer", nil)), []string{jsonFile, "normalizer is missing"}},
		{"small", edit(jsonFile, `"NFC"`, `"NFKC"`), []string{jsonFile, "normalizer is", "NFKC"}},
		{"small", edit(jsonFile, `\\s+`, ` +`), []string{jsonFile, "normalizer is"}},
		{"small", edit(jsonFile, `'re|`, ``), []string{jsonFile, "pre_tokenizer is"}},
		{"small", edit(jsonFile, `"invert": true`, `"invert": false`), []string{jsonFile, "pre_tokenizer is"}},
		{"small", editJSON(jsonFile, set("pre_tokenizer", map[string]any{"type": "Whitespace"})), []string{jsonFile, "pre_tokenizer is", "Whitespace"}},
		{"small", editJSON(jsonFile, set("padding", map[string]any{"direction": "Left"})), []string{jsonFile, "padding is", "Left"}},
		{"small", editJSON(jsonFile, set("truncation", map[string]any{"direction": "Left"})), []string{jsonFile, "truncation is", "Left"}},
		{"small", editJSON(jsonFile, set("added_tokens", []any{map[string]any{"content": "x"}})), []string{jsonFile, `"x" has no id`}},
		{"small", editJSON(jsonFile, set("added_tokens", []any{map[string]any{"content": "x", "id": 2002}, map[string]any{"content": "y", "id": 2002}})), []string{jsonFile, `"y" has id 2002`}},
		{"odd", editJSON(config, set("unk_token", "<left>")), []string{jsonFile, "byte 0x00", `"<left>"`}},
	} {
		files := copyFolder(t, c.folder)
		c.change(t, files)
		_, err := tokenizer.Load(files, "tokenizer")
		if err == nil {
			t.Errorf("%s: no error, want one with %q", c.folder, c.want)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q lacks %q", c.folder, err, part)
			}
		}
	}
}

func TestLoadVariants(t *testing.T) {
	const text = "It's <|STARTOFTEXT|> an owl, wearing 2 hats!! <new>"
	for _, c := range []struct {
		name, folder string
		change       func(t *testing.T, files fstest.MapFS)
		like         string // the folder with the same ids
		length       int
	}{
		{"no configuration", "legacy", func(t *testing.T, files fstest.MapFS) {
			remove("tokenizer_config.json")(t, files)
			remove("special_tokens_map.json")(t, files)
		}, "small_without_pad", 77},
		{"no length", "small", editJSON("tokenizer_config.json", set("model_max_length", nil)), "small", 77},
		{"the number for no length", "small", edit("tokenizer_config.json", `"model_max_length": 77`, `"model_max_length": 1000000000000000019884624838656`), "small", 77},
		{"another length", "small", editJSON("tokenizer_config.json", set("model_max_length", 20)), "small", 20},
		{"version 4's pattern", "small", edit("tokenizer.json", `<\\|startoftext\\|>|<\\|endoftext\\|>|`, ``), "small", 77},
		{"lines that end in \\r\\n", "legacy_2", func(t *testing.T, files fstest.MapFS) {
			f := files["tokenizer/merges.txt"]
			f.Data = []byte(strings.ReplaceAll(string(f.Data), "\n", "\r\n"))
		}, "legacy_2", 77},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := copyFolder(t, c.folder)
			c.change(t, files)
			got, err := tokenizer.Load(files, "tokenizer")
			if err != nil {
				t.Fatal(err)
			}
			if got.MaxLength() != c.length {
				t.Errorf("length %d, want %d", got.MaxLength(), c.length)
			}
			gotIDs, err := got.Tokenize(text)
			if err != nil {
				t.Fatal(err)
			}
			if c.like == "small_without_pad" {
				// CLIP's defaults: neither flags nor another padding.
				if got.Pad() != got.EOS() || slices.Contains(gotIDs, got.BOS()) {
					t.Errorf("pad %d, eos %d, ids %v with bos %d", got.Pad(), got.EOS(), gotIDs, got.BOS())
				}
				return
			}
			want, err := load(t, c.like).Tokenize(text)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(gotIDs, want) {
				t.Errorf("ids %v, want %v", gotIDs, want)
			}
		})
	}
}

func TestAddedTokensFile(t *testing.T) {
	files := copyFolder(t, "legacy")
	editJSON("added_tokens.json", func(o map[string]any) { o["<New>"], o["<other>"] = 2002, 2003 })(t, files)
	tok, err := tokenizer.Load(files, "tokenizer")
	if err != nil {
		t.Fatal(err)
	}
	got, err := tok.Tokenize("a<NEW><other>")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[1] != 2002 || got[2] != 2003 || tok.VocabSize() != 2004 {
		t.Errorf("ids %v of %d, want one, 2002 and 2003 of 2004", got, tok.VocabSize())
	}
}

func TestLoadMissingFolder(t *testing.T) {
	if _, err := tokenizer.Load(fstest.MapFS{}, "tokenizer_2"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "tokenizer_2") {
		t.Errorf("error %v, want fs.ErrNotExist about tokenizer_2", err)
	}
	if _, err := tokenizer.CLIP("<pad>"); err == nil || !strings.Contains(err.Error(), "<pad>") {
		t.Errorf("error %v, want one about <pad>", err)
	}
}

// TestStandIns puts what a download leaves in place of a file where the tokenizer's files belong.
func TestStandIns(t *testing.T) {
	for content, want := range map[string][]string{
		"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1059962\n": {"a Git LFS pointer to 1059962 bytes", "git lfs pull"},
		"\n<!DOCTYPE html><html><body>Sign in</body></html>":                        {"an HTML page", "download the file itself"},
	} {
		for folder, names := range map[string][]string{
			"legacy": {"vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"},
			"small":  {"tokenizer.json", "tokenizer_config.json"},
		} {
			for _, name := range names {
				files := copyFolder(t, folder)
				files["tokenizer/"+name] = &fstest.MapFile{Data: []byte(content)}
				_, err := tokenizer.Load(files, "tokenizer")
				for _, w := range append(want, "tokenizer/"+name) {
					if err == nil || !strings.Contains(err.Error(), w) {
						t.Errorf("%s %s: error %v, want %q", folder, name, err, w)
					}
				}
			}
		}
	}
}
