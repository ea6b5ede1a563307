package nn

import (
	"fmt"
	"strings"
	"testing"
)

func TestMatchPath(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"conv_in", "conv_in", true},
		{"conv_in", "conv_in.weight", false},
		{"down_blocks.1.attentions.*", "down_blocks.1.attentions.0", true},
		{"down_blocks.1.attentions.*", "down_blocks.1.attentions.0.norm", false},
		{"down_blocks.1.attentions.*", "down_blocks.1.attentions", false},
		{"down_blocks.[01].resnets.?", "down_blocks.1.resnets.0", true},
		{"down_blocks.[01].resnets.?", "down_blocks.2.resnets.0", false},
		{"**", "a", true},
		{"**", "a.b.c", true},
		{"**.attn2", "attn2", true},
		{"**.attn2", "mid.0.attn2", true},
		{"**.attn2", "mid.0.attn2.to_q", false},
		{"a.**.d", "a.d", true},
		{"a.**.d", "a.b.c.d", true},
		{"a.**.d.**", "a.d.d", true},
		{"a.**.**.d", "a.d", true},
		{"a.**", "b.a", false},
	} {
		if got := matchPath(c.pattern, c.path); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.path, got)
		}
	}
	for _, bad := range []string{"", "a..b", "a.[", "a.b**"} {
		if err := checkPattern(bad); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("pattern %q: error %v", bad, err)
		}
	}
}
