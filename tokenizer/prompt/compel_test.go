package prompt

import (
	"math"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// near compares weights, which are powers that Python and Go may round apart.
var near = cmp.Comparer(func(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-14*math.Abs(a) })

func TestCompel(t *testing.T) {
	g := openFile(t, "testdata/compel.json.gz")
	if len(g.Compel) < 300 {
		t.Fatalf("%d cases", len(g.Compel))
	}
	blends, parts, loras := 0, 0, 0
	for _, c := range g.Compel {
		var want Conjunction
		for _, p := range c.Parts {
			part := CompelPart{Weight: p.Weight, Blend: p.Blend}
			for _, prompt := range p.Prompts {
				var list []Fragment
				for _, f := range prompt {
					list = append(list, Fragment{f[0].(string), f[1].(float64)})
				}
				part.Prompts = append(part.Prompts, list)
			}
			want.Parts = append(want.Parts, part)
			if p.Blend != nil {
				blends++
			}
		}
		for _, l := range c.Loras {
			want.Networks = append(want.Networks, Network{"lora", []string{l[0].(string), strconv.FormatFloat(l[1].(float64), 'g', -1, 64)}})
			loras++
		}
		parts += len(c.Parts)
		if diff := cmp.Diff(want, ParseCompel(c.Text), near); diff != "" {
			t.Errorf("%q: %s", c.Text, diff)
		}
	}
	if blends < 10 || parts < len(g.Compel)+10 || loras < 10 {
		t.Errorf("the cases have %d blends, %d parts and %d networks", blends, parts, loras)
	}
}
