package tokenizer_test

import (
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goxl/goxl/tokenizer"
)

// goldens is testdata/goldens.json.gz, written by tools/reference/tokenizer.py from transformers' CLIPTokenizer.
type goldens struct {
	Maker        string      `json:"maker"`
	Transformers string      `json:"transformers"`
	Tokenizers   string      `json:"tokenizers"`
	Texts        []string    `json:"texts"`
	Classes      []string    `json:"classes"`
	Sets         []goldenSet `json:"sets"`
}

// goldenSet is what one tokenizer makes of the texts.
type goldenSet struct {
	Name      string   `json:"name"` // clip, clip_2 or a folder of testdata/folders.zip
	Like      string   `json:"like"` // the set that null cases are equal to
	BOS       int32    `json:"bos"`
	EOS       int32    `json:"eos"`
	Pad       int32    `json:"pad"`
	MaxLength int      `json:"max_length"`
	Size      int      `json:"size"`
	Cases     []*ids   `json:"cases"`
	Encoded   [][3]any `json:"encoded"` // index of the text, digest of Encoding.IDs, Truncated
	Decoded   [][2]any `json:"decoded"` // index of the text, what its ids decode to
	Sweep     []string `json:"sweep"`   // of TestEveryCodePoint
}

// ids is a list of ids, or the length and the digest of a long one.
type ids struct {
	List   []int32
	Length int    `json:"length"`
	Digest string `json:"digest"`
}

func (i *ids) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		return json.Unmarshal(data, &i.List)
	}
	type object ids
	return json.Unmarshal(data, (*object)(i))
}

func (i *ids) equal(got []int32) bool {
	if i.Digest != "" {
		return len(got) == i.Length && digest(got) == i.Digest
	}
	return slices.Equal(got, i.List)
}

// digest is the reference script's: the start of the SHA-256 of the little-endian ids.
func digest(ids []int32) string {
	raw := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(id))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

var readGoldens = sync.OnceValues(func() (*goldens, error) {
	f, err := os.Open("testdata/goldens.json.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var g goldens
	if err := json.NewDecoder(unpacked).Decode(&g); err != nil {
		return nil, err
	}
	return &g, nil
})

// loadGoldens returns the goldens, with every null case replaced by what it stands for.
func loadGoldens(t testing.TB) *goldens {
	t.Helper()
	g, err := readGoldens()
	if err != nil {
		t.Fatal(err)
	}
	for i, set := range g.Sets {
		for _, base := range g.Sets[:i] {
			if base.Name != set.Like {
				continue
			}
			for k, c := range set.Cases {
				if c == nil {
					set.Cases[k] = base.Cases[k]
				}
			}
		}
	}
	return g
}

var openFolders = sync.OnceValues(func() (*zip.ReadCloser, error) { return zip.OpenReader("testdata/folders.zip") })

func folders(t testing.TB) fs.FS {
	t.Helper()
	archive, err := openFolders()
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// load returns the tokenizer of a golden set.
func load(t testing.TB, name string) *tokenizer.Tokenizer {
	t.Helper()
	var tok *tokenizer.Tokenizer
	var err error
	switch name {
	case "clip":
		tok, err = tokenizer.CLIP("<|endoftext|>")
	case "clip_2":
		tok, err = tokenizer.CLIP("!")
	default:
		tok, err = tokenizer.Load(folders(t), name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestGoldens(t *testing.T) {
	g := loadGoldens(t)
	if len(g.Texts) < 3000 || len(g.Sets) != 9 {
		t.Fatalf("goldens have %d texts and %d tokenizers, want at least 3000 and 9", len(g.Texts), len(g.Sets))
	}
	t.Logf("%s, transformers %s, tokenizers %s, %d texts", g.Maker, g.Transformers, g.Tokenizers, len(g.Texts))
	for _, set := range g.Sets {
		t.Run(set.Name, func(t *testing.T) {
			tok := load(t, set.Name)
			if tok.BOS() != set.BOS || tok.EOS() != set.EOS || tok.Pad() != set.Pad || tok.MaxLength() != set.MaxLength || tok.VocabSize() != set.Size {
				t.Fatalf("bos %d, eos %d, pad %d, length %d, size %d; want %d, %d, %d, %d, %d",
					tok.BOS(), tok.EOS(), tok.Pad(), tok.MaxLength(), tok.VocabSize(), set.BOS, set.EOS, set.Pad, set.MaxLength, set.Size)
			}
			if len(set.Cases) != len(g.Texts) {
				t.Fatalf("%d cases for %d texts", len(set.Cases), len(g.Texts))
			}
			wrong := map[string]int{}
			for i, want := range set.Cases {
				got, err := tok.Tokenize(g.Texts[i])
				if err != nil {
					t.Fatal(err)
				}
				if want == nil || !want.equal(got) {
					if wrong[g.Classes[i]]++; wrong[g.Classes[i]] <= 3 {
						t.Errorf("%s: %+.200q\n got %v\nwant %+v", g.Classes[i], g.Texts[i], got[:min(len(got), 100)], want)
					}
				}
			}
			if len(wrong) > 0 {
				t.Errorf("wrong cases by class: %v", wrong)
			}
		})
	}
}

func TestGoldenEncodings(t *testing.T) {
	g := loadGoldens(t)
	for _, set := range g.Sets {
		t.Run(set.Name, func(t *testing.T) {
			tok := load(t, set.Name)
			cut := 0
			for _, c := range set.Encoded {
				i := int(c[0].(float64))
				got, err := tok.Encode(g.Texts[i])
				if err != nil {
					t.Fatal(err)
				}
				if got.Truncated != "" {
					cut++
				}
				if digest(got.IDs) != c[1] {
					t.Errorf("%+.200q: ids %v have another digest than the reference's", g.Texts[i], got.IDs)
				}
				if got.Truncated != c[2] {
					t.Errorf("%+.200q: truncated %q, want %q", g.Texts[i], got.Truncated, c[2])
				}
			}
			if cut < 50 {
				t.Errorf("only %d of %d texts were truncated", cut, len(set.Encoded))
			}
			for _, c := range set.Decoded {
				i := int(c[0].(float64))
				if got := tok.Decode(set.Cases[i].List); got != c[1] {
					t.Errorf("%v: decoded %+q, want %+q", set.Cases[i].List, got, c[1])
				}
			}
		})
	}
}

// TestEveryCodePoint compares one digest for each 4,096 code points.
func TestEveryCodePoint(t *testing.T) {
	set := loadGoldens(t).Sets[0]
	if set.Name != "clip" || len(set.Sweep) != 272 {
		t.Fatalf("set %q has %d digests, want clip with 272", set.Name, len(set.Sweep))
	}
	tok := load(t, "clip")
	var wait sync.WaitGroup
	for block, want := range set.Sweep {
		wait.Go(func() {
			var all []int32
			for c := rune(block * 4096); c < rune(block+1)*4096; c++ {
				if 0xD800 <= c && c < 0xE000 {
					continue
				}
				s := string(c)
				got, err := tok.Tokenize("e" + s + "\u0301 " + s + "x" + s)
				if err != nil {
					t.Error(err)
					return
				}
				all = append(append(all, got...), -1)
			}
			if digest(all) != want {
				t.Errorf("U+%04X to U+%04X: ids differ from the reference's", block*4096, block*4096+4095)
			}
		})
	}
	wait.Wait()
}

func TestStringsAndPairsAgree(t *testing.T) {
	pairs, strs := load(t, "small"), load(t, "small_strings")
	text := strings.Repeat("an intricate owl wearing a tophat! ", 20)
	a, err := pairs.Encode(text)
	if err != nil {
		t.Fatal(err)
	}
	b, err := strs.Encode(text)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(a.IDs, b.IDs) || a.Truncated != b.Truncated {
		t.Errorf("merges as pairs give %v, as strings %v", a, b)
	}
}
