package prompt

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/tokenizer"
)

// golden is what tools/reference/prompts.py wrote.
type golden struct {
	Meta struct {
		Embeddings map[string]int
	}
	Doctests []struct {
		Function, Text  string
		Want            json.RawMessage
		UpstreamDiffers bool `json:"upstream_differs"`
	}
	Schedules []struct {
		Text  string
		Steps int
		Want  [][2]any
	}
	Attention, Multicond []pairs
	ComfyWeights         []pairs `json:"comfy_weights"`
	Networks             []struct {
		Text, Rest string
		Want       [][2]any
	}
	Compel []struct {
		Text  string
		Parts []struct {
			Weight  float64
			Prompts [][][2]any
			Blend   []float64
		}
		Loras [][2]any
	}
	Chunks []struct {
		Style     Style
		Pad, Text string
		Want      [][3][]any
	}
}

type pairs struct {
	Text string
	Want [][2]any
}

func openGolden(t *testing.T) *golden { return openFile(t, "testdata/prompts.json.gz") }

func openFile(t *testing.T, path string) *golden {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	g := new(golden)
	if err := json.NewDecoder(z).Decode(g); err != nil {
		t.Fatal(err)
	}
	return g
}

func fragments(list []Fragment) (out [][2]any) {
	for _, f := range list {
		out = append(out, [2]any{f.Text, f.Weight})
	}
	return out
}

func scheduled(list []Scheduled) (out [][2]any) {
	for _, s := range list {
		out = append(out, [2]any{float64(s.Until), s.Text})
	}
	return out
}

// TestDoctests is the table of A1111's own documentation. One of its examples, whose comment says that it is not
// handled, is what A1111 itself does not print; the grammar does here what A1111's does.
func TestDoctests(t *testing.T) {
	g, differs := openGolden(t), 0
	if len(g.Doctests) < 20 {
		t.Fatalf("%d examples", len(g.Doctests))
	}
	for _, c := range g.Doctests {
		if c.UpstreamDiffers {
			differs++
		}
		var got any
		switch c.Function {
		case "schedule":
			got = scheduled(schedule(c.Text, 10))
		case "parse_prompt_attention":
			got = fragments(attention(c.Text))
		default:
			t.Fatalf("no function %s", c.Function)
		}
		var want [][2]any
		if err := json.Unmarshal(c.Want, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(any(want), got); diff != "" {
			t.Errorf("%s(%q): %s", c.Function, c.Text, diff)
		}
	}
	if differs != 1 {
		t.Errorf("A1111 fails %d of its examples, not 1", differs)
	}
}

// TestSchedules compares with A1111's parser. Its grammar is ambiguous where brackets are left over, and which reading
// it takes then is an accident of its library: of a thousand random texts, few may be read otherwise, all of them with
// brackets that have no partner.
func TestSchedules(t *testing.T) {
	differ, cases := 0, openGolden(t).Schedules
	for _, c := range cases {
		diff := cmp.Diff(c.Want, scheduled(schedule(c.Text, c.Steps)))
		if diff == "" {
			continue
		}
		differ++
		if tree := readTree(c.Text); tree.end[0] == int32(len(c.Text)) {
			t.Errorf("%q in %d steps: %s", c.Text, c.Steps, diff)
		}
	}
	t.Logf("%d of %d texts are read otherwise than by A1111", differ, len(cases))
	if len(cases) < 1000 || differ > len(cases)/100 {
		t.Errorf("%d of %d texts are read otherwise than by A1111", differ, len(cases))
	}
}

func TestAttention(t *testing.T) {
	for _, c := range openGolden(t).Attention {
		if diff := cmp.Diff(c.Want, fragments(attention(c.Text))); diff != "" {
			t.Errorf("%q: %s", c.Text, diff)
		}
	}
}

func TestAnd(t *testing.T) {
	for _, c := range openGolden(t).Multicond {
		var got [][2]any
		for _, s := range splitAnd(c.Text) {
			got = append(got, [2]any{s.text, s.weight})
		}
		if diff := cmp.Diff(c.Want, got); diff != "" {
			t.Errorf("%q: %s", c.Text, diff)
		}
	}
}

func TestComfyWeights(t *testing.T) {
	for _, c := range openGolden(t).ComfyWeights {
		got := fragments(comfy(c.Text))
		if len(got)+len(c.Want) == 0 {
			continue
		}
		if diff := cmp.Diff(c.Want, got); diff != "" {
			t.Errorf("%q: %s", c.Text, diff)
		}
	}
}

func TestNetworks(t *testing.T) {
	found := 0
	for _, c := range openGolden(t).Networks {
		rest, list := Networks(c.Text)
		if rest != c.Rest {
			t.Errorf("%q leaves %q, want %q", c.Text, rest, c.Rest)
		}
		var want []Network
		for _, w := range c.Want {
			n := Network{Kind: w[0].(string)}
			for _, a := range w[1].([]any) {
				n.Args = append(n.Args, a.(string))
			}
			want = append(want, n)
		}
		slices.SortStableFunc(list, func(a, b Network) int {
			return slices.Compare(append([]string{a.Kind}, a.Args...), append([]string{b.Kind}, b.Args...))
		})
		if diff := cmp.Diff(want, list); diff != "" {
			t.Errorf("%q: %s", c.Text, diff)
		}
		found += len(list)
	}
	if found < 20 {
		t.Errorf("the cases have %d networks", found)
	}
}

// TestChunks compares token by token with each tool's own code.
func TestChunks(t *testing.T) {
	g := openGolden(t)
	chunkers := map[string]*Chunker{}
	counts := map[Style]int{}
	for _, c := range g.Chunks {
		if chunkers[c.Pad] == nil {
			tok, err := tokenizer.CLIP(c.Pad)
			if err != nil {
				t.Fatal(err)
			}
			if chunkers[c.Pad], err = NewChunker(tok, g.Meta.Embeddings); err != nil {
				t.Fatal(err)
			}
		}
		k := chunkers[c.Pad]
		got, _, err := k.Chunks(c.Style, c.Text)
		if err != nil {
			t.Fatal(err)
		}
		counts[c.Style] += len(got)
		var want []Chunk
		for _, w := range c.Want {
			var chunk Chunk
			for i := range w[0] {
				chunk = append(chunk, Token{ID: int32(w[0][i].(float64)), Weight: w[1][i].(float64)})
			}
			for len(chunk) < 77 {
				chunk = append(chunk, Token{ID: k.tokens.Pad(), Weight: 1})
			}
			for _, n := range w[2] {
				at := n.([]any)
				chunk[int(at[0].(float64))].Name, chunk[int(at[0].(float64))].Vector = at[1].(string), int(at[2].(float64))
			}
			want = append(want, chunk)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %q, padded with %s: %s", c.Style, c.Text, c.Pad, diff)
		}
	}
	for _, s := range []Style{Plain, A1111, Comfy} {
		if counts[s] < 100 {
			t.Errorf("%d chunks in style %s", counts[s], s)
		}
	}
}
