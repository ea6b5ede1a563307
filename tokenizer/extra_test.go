package tokenizer_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/tokenizer"
)

// ordered is a JSON object whose members keep their order, which counts for new tokens.
type ordered []struct {
	key   string
	value json.RawMessage
}

func (o *ordered) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(strings.NewReader(string(data)))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		*o = append(*o, struct {
			key   string
			value json.RawMessage
		}{key.(string), value})
	}
	return nil
}

func (o ordered) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(m.value)
	}
	return []byte("{" + b.String() + "}"), nil
}

// TestExtraTokens compares special tokens beside the named ones, in every form that transformers writes or reads, with
// transformers.
func TestExtraTokens(t *testing.T) {
	data, err := os.ReadFile("testdata/extra_tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Texts []string
		Cases []struct {
			Folder  string
			Changes map[string]ordered
			Raises  string
			Pad     int32
			Size    int
			IDs     [][]int32
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) < 80 {
		t.Fatalf("%d cases, want all", len(golden.Cases))
	}
	for _, c := range golden.Cases {
		files := copyFolder(t, c.Folder)
		name := c.Folder
		for file, changes := range c.Changes {
			var content ordered
			if f := files["tokenizer/"+file]; f != nil {
				if err := json.Unmarshal(f.Data, &content); err != nil {
					t.Fatal(err)
				}
			} else {
				files["tokenizer/"+file] = copyFolder(t, "legacy")["tokenizer/tokenizer_config.json"]
			}
			for _, m := range changes {
				i := slices.IndexFunc(content, func(o struct {
					key   string
					value json.RawMessage
				}) bool {
					return o.key == m.key
				})
				if i < 0 {
					content = append(content, m)
				} else {
					content[i].value = m.value
				}
				name += " " + m.key + ": " + string(m.value)
			}
			if files["tokenizer/"+file].Data, err = json.Marshal(content); err != nil {
				t.Fatal(err)
			}
		}
		tok, err := tokenizer.Load(files, "tokenizer")
		if c.Raises != "" {
			if err == nil {
				t.Errorf("%s: transformers says %s, but there is no error", name, c.Raises)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if tok.VocabSize() != c.Size || tok.Pad() != c.Pad {
			t.Errorf("%s: %d ids, padding %d, want %d, %d", name, tok.VocabSize(), tok.Pad(), c.Size, c.Pad)
		}
		for i, text := range golden.Texts {
			got, err := tok.Tokenize(text)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.IDs[i]) {
				t.Errorf("%s: %q gives %v, want %v", name, text, got, c.IDs[i])
			}
		}
	}
}
