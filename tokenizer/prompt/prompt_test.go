package prompt

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/tokenizer"
)

func TestParse(t *testing.T) {
	text := "a <lora:x:0.5:0.7>[b:c:2] AND d :-0.5"
	got := Parse(A1111, text, 4)
	want := Prompt{
		Parts:    []Part{{1, []Scheduled{{2, "a b"}, {4, "a c"}}}, {-0.5, []Scheduled{{4, " d"}}}},
		Networks: []Network{{"lora", []string{"x", "0.5", "0.7"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := ParseNegative(A1111, "x AND y", 4).Parts; len(got) != 1 || got[0].At(0) != "x AND y" {
		t.Errorf("a negative prompt has %v", got)
	}
	for step, want := range []string{"a b", "a b", "a b", "a c"} {
		if at := got.Parts[0].At(step); at != want {
			t.Errorf("step %d has %q, want %q", step, at, want)
		}
	}
	for _, s := range []Style{Plain, Comfy, Compel} {
		if got := Parse(s, text, 4); len(got.Parts) != 1 || got.Parts[0].At(3) != text || got.Networks != nil {
			t.Errorf("%s: %v", s, got)
		}
	}
}

// TestNetworksOf: what a text names is what Parse takes out of it, once.
func TestNetworksOf(t *testing.T) {
	for _, text := range []string{"", "a <lora:x:0.5> b", "<lo<lora:x:1>ra:y:1>", `("a", "b").and() withLora(z, 0.7)`, "withLora(z) <lyco:q>", "[a:<lora:x>:0.5]"} {
		for _, s := range Styles() {
			if diff := cmp.Diff(Parse(s, text, 4).Networks, NetworksOf(s, text)); diff != "" {
				t.Errorf("%s, %q: Parse finds, NetworksOf finds\n%s", s, text, diff)
			}
			if got := len(NetworksOf(s, "<lora:x:1>")) == 1; got != s.HasTags() {
				t.Errorf("%s takes a tag: %v", s, got)
			}
		}
	}
	if got := Parse(A1111, "<lo<lora:x:1>ra:y:1>", 4); got.Parts[0].At(0) != "<lora:y:1>" || len(got.Networks) != 1 {
		t.Errorf("%v: what is left is text, as in A1111", got)
	}
}

func chunker(t testing.TB, vectors map[string]int) *Chunker {
	t.Helper()
	tok, err := tokenizer.CLIP("!")
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewChunker(tok, vectors)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLong(t *testing.T) {
	c := chunker(t, nil)
	for _, n := range []int{0, 1, 75, 76, 150, 151} {
		got, warnings, err := c.Chunks(Long, strings.Repeat("a ", n))
		if err != nil || len(warnings) > 0 || len(got) != max(1, (n+74)/75) {
			t.Errorf("%d tokens are %d chunks, %v, %v", n, len(got), warnings, err)
		}
	}
	got, warnings, err := c.Chunks(Plain, strings.Repeat("a ", 80))
	if err != nil || len(got) != 1 || len(warnings) != 1 || !strings.Contains(warnings[0], "75 of 80") {
		t.Errorf("%d chunks, %q, %v", len(got), warnings, err)
	}
	if diff := cmp.Diff([]Chunk{c.Empty()}, first(c.Chunks(A1111, ""))); diff != "" {
		t.Error(diff)
	}
}

// TestCompelDeep reads brackets of compel's of great depth and number.
func TestCompelDeep(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("(", 10000), strings.Repeat("(", 5000) + "a" + strings.Repeat(")+", 5000), strings.Repeat("(a ", 5000), strings.Repeat(`"a `, 5000),
		strings.Repeat("a.swap(", 3000), strings.Repeat(`("a", `, 3000), strings.Repeat("a++ ", 5000),
	} {
		ParseCompel(text)
	}
}

func first(chunks []Chunk, _ []string, _ error) []Chunk { return chunks }

// TestDeep reads brackets of great depth and number, which must end soon.
func TestDeep(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("(", 20000), strings.Repeat("[", 20000), strings.Repeat("(", 10000) + "a" + strings.Repeat(")", 10000),
		strings.Repeat("[", 10000) + "a" + strings.Repeat("]", 10000), strings.Repeat("[a|", 10000), strings.Repeat("[a:", 5000) + strings.Repeat("b:1]", 5000),
		strings.Repeat("(a", 8000), strings.Repeat("<a:", 10000), strings.Repeat("AND ", 5000),
	} {
		Parse(A1111, text, 3)
		attention(text)
		comfy(text)
	}
}

func FuzzPrompts(f *testing.F) {
	for _, text := range []string{"", "a (b:1.2) [c:d:0.5] [e|f] AND g:2 BREAK <lora:x:1>", `\(\[`, "embedding:bad, embedding:", "((a)", "[[a|]:2]::", "a++ (b c)0.5", `("a", "b").and(1, 0.5)`} {
		f.Add(text, 4)
	}
	c := chunker(f, map[string]int{"bad": 3, "bad hands": 1})
	f.Fuzz(func(t *testing.T, text string, steps int) {
		steps = min(max(steps, 0), 8)
		for _, s := range Styles() {
			for _, p := range []Prompt{Parse(s, text, steps), ParseNegative(s, text, steps)} {
				for _, part := range p.Parts {
					for step := range steps + 2 {
						checkChunks(t, c, s, part.At(step))
					}
				}
				checkCompel(t, c, text)
				if len(p.Parts) == 0 {
					t.Errorf("%s %q has no part", s, text)
				}
			}
		}
	})
}

func checkChunks(t *testing.T, c *Chunker, s Style, text string) {
	chunks, _, err := c.Chunks(s, text)
	if err != nil {
		return // not UTF-8
	}
	if len(chunks) == 0 || s == Plain && len(chunks) != 1 {
		t.Fatalf("%s %q has %d chunks", s, text, len(chunks))
	}
	for _, chunk := range chunks {
		if len(chunk) != 77 {
			t.Fatalf("%s %q has a chunk of %d tokens", s, text, len(chunk))
		}
		for _, token := range chunk {
			if token.ID < 0 || int(token.ID) >= c.tokens.VocabSize() || token.Name != "" && token.Vector >= c.vectors[token.Name] {
				t.Fatalf("%s %q has the token %+v", s, text, token)
			}
		}
	}
}

func checkCompel(t *testing.T, c *Chunker, text string) {
	for _, part := range ParseCompel(text).Parts {
		if part.Blend != nil && len(part.Blend) != len(part.Prompts) || len(part.Prompts) == 0 {
			t.Fatalf("%q has a part of %d prompts and %d weights", text, len(part.Prompts), len(part.Blend))
		}
		for _, fragments := range part.Prompts {
			got, err := c.Compel(fragments)
			if err != nil {
				return // not UTF-8
			}
			for _, w := range got.Without {
				if len(w.Masked) != len(got.Chunks) || w.Masked[0][0] || !(w.Weight < 1) {
					t.Fatalf("%q is blended with %+v", text, w)
				}
			}
		}
	}
}

// TestLongTexts reads long prompts of patterns that take minutes where a rule looks at all that follows, or at all that
// was before. The bound is far above what they take, for machines that do other things too.
func TestLongTexts(t *testing.T) {
	const size = 96 << 10
	for style, text := range map[Style]string{
		Comfy:  strings.Repeat("(", size/2) + strings.Repeat(")", size/2),
		Compel: strings.Repeat("(a:1.1)", size/7),
	} {
		began := time.Now()
		Parse(style, text, 50)
		if style == Comfy {
			comfy(text)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("%s: %d bytes take %v", style, len(text), took)
		}
	}
}
