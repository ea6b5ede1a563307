package scheduler

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestFromConfigResolvesAsDiffusers(t *testing.T) {
	golden := readGolden[scheduleGolden](t, "schedules.json.gz")
	for _, want := range golden.Resolved {
		stored, err := Parse(golden.Bases[want.Base])
		if err != nil {
			t.Fatal(err)
		}
		as, err := stored.As(want.As)
		if err != nil {
			t.Errorf("%s as %s: %v", want.Base, want.As, err)
			continue
		}
		if as.Class != want.Class {
			t.Errorf("%s as %s: class %s, want %s", want.Base, want.As, as.Class, want.Class)
		}
		encoded, err := json.Marshal(as)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatal(err)
		}
		for key, value := range want.Keys {
			field, ok := got[key]
			if !ok {
				if fixed := fixedKeys[key]; fixed == nil && !slices.Contains(foreignKeys, key) {
					t.Errorf("%s as %s: no field for %s", want.Base, want.As, key)
				}
				continue
			}
			if a, b := string(field), string(value); a != b && !sameNumber(a, b) && !(a == "null" && b == "[]") {
				t.Errorf("%s as %s: %s is %s, want %s", want.Base, want.As, key, a, b)
			}
		}
	}
}

func sameNumber(a, b string) bool {
	var x, y float64
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && x == y
}

func TestNames(t *testing.T) {
	list := Names()
	if len(list) != 103 || list[0] != "ddim" || list[len(list)-1] != "k_unipc" {
		t.Errorf("%d names: %s", len(list), strings.Join(list, " "))
	}
	for _, absent := range []string{"euler_a_karras", "ddim_beta", "lcm_karras", "tcd_exponential", "pndm_karras", "edm_euler_beta"} {
		if slices.Contains(list, absent) {
			t.Errorf("%s is listed, but the class does not have it", absent)
		}
	}
}
