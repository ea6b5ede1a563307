package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// oneOrMany is a setting that is a number or a list, as transformer_layers_per_block is.
type oneOrMany []int

func (o *oneOrMany) UnmarshalJSON(data []byte) error {
	var one int
	if json.Unmarshal(data, &one) == nil {
		*o = oneOrMany{one}
		return nil
	}
	var many []int
	if err := json.Unmarshal(data, &many); err != nil {
		return fmt.Errorf("a whole number or a list of them")
	}
	*o = many
	return nil
}

type testConfig struct {
	InChannels int        `json:"in_channels"`
	Epsilon    float64    `json:"norm_eps"`
	Act        string     `json:"act_fn"`
	Upcast     bool       `json:"upcast_attention"`
	Channels   []int      `json:"block_out_channels"`
	Class      *string    `json:"class_embed_type"`
	Heads      oneOrMany  `json:"heads"`
	Pair       [2]float64 `json:"pair"`
	Unsigned   uint       `json:"unsigned"`
	Nested     struct {
		A int `json:"a"`
	} `json:"nested"`
	Hidden  int `json:"-"`
	Ignored int
}

func TestParseConfig(t *testing.T) {
	class := "timestep"
	got := testConfig{Epsilon: 1e-6, Act: "gelu", Upcast: true}
	unknown, err := ParseConfig([]byte(`{"_class_name":"UNet","_diffusers_version":"0.19","in_channels":4,"act_fn":"silu","upcast_attention":null,
		"block_out_channels":[320,640],"class_embed_type":"timestep","heads":5,"nested":{"a":1},"dropout":0.0}`), "unet/config.json", &got, "dropout")
	want := testConfig{InChannels: 4, Epsilon: 1e-6, Act: "silu", Channels: []int{320, 640}, Class: &class, Heads: oneOrMany{5}}
	want.Nested.A = 1
	if err != nil || !reflect.DeepEqual(got, want) || unknown != nil {
		t.Errorf("got %+v, unknown %q, error %v; want %+v", got, unknown, err, want)
	}
	got.Heads = nil
	if _, err := ParseConfig([]byte(`{"class_embed_type":null,"block_out_channels":null,"heads":[1,2]}`), "f", &got); err != nil || got.Class != nil || got.Channels != nil || len(got.Heads) != 2 {
		t.Errorf("null: %+v, error %v", got, err)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for _, c := range []struct{ config, key, want string }{
		{`{"in_channels":"4"}`, "in_channels", `"in_channels" is "4"; allowed: a whole number`},
		{`{"in_channels":4.5}`, "in_channels", "is 4.5; allowed: a whole number"},
		{`{"in_channels":99999999999999999999}`, "in_channels", "a whole number"},
		{`{"in_channels":null}`, "in_channels", "is null; allowed: a whole number"},
		{`{"unsigned":-1}`, "unsigned", "a whole number from 0 on"},
		{`{"norm_eps":"1e-5"}`, "norm_eps", "a number"},
		{`{"act_fn":1}`, "act_fn", "a string"},
		{`{"upcast_attention":"true"}`, "upcast_attention", "true or false"},
		{`{"upcast_attention":2}`, "upcast_attention", "true or false"},
		{`{"upcast_attention":[0]}`, "upcast_attention", "true or false"},
		{`{"block_out_channels":320}`, "block_out_channels", "a list, each entry a whole number"},
		{`{"block_out_channels":[320,null]}`, "block_out_channels", "a list, each entry a whole number"},
		{`{"block_out_channels":[320,"x"]}`, "block_out_channels", "a list, each entry a whole number"},
		{`{"class_embed_type":7}`, "class_embed_type", "null or a string"},
		{`{"pair":7}`, "pair", "a list of 2, each a number"},
		{`{"heads":"x"}`, "heads", "a whole number or a list of them"},
		{`{"nested":{"a":1,"b":2}}`, "nested", "an object"},
		{`{"nested":{"a":1,"a":2}}`, "nested.a", "twice"},
		{`{"in_channels":4,"in_channels":4}`, "in_channels", "twice"},
		{`{"_x":[{"a":[{"k":1},{"k":1}]},{"b":1,"c":{},"b":2}]}`, "_x.b", "twice"},
		{`{"in_channels":4} {}`, "", "text after"},
		{`{"in_channels":4`, "", "ends too early"},
		{`{"in_channels":}`, "", "not valid JSON"},
		{``, "", "ends too early"},
		{`[]`, "", "not a JSON object"},
		{`null`, "", "not a JSON object"},
		{"{\"\xff\":1}", "", "UTF-8"},
		{`{"in_channels":"` + strings.Repeat("x", 1000) + `"}`, "in_channels", "…"},
	} {
		got := testConfig{InChannels: 7, Channels: []int{1}}
		_, err := ParseConfig([]byte(c.config), "c.json", &got, "dropout")
		var ce *ConfigError
		if !errors.As(err, &ce) || ce.File != "c.json" || ce.Key != c.key || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%.80s: error %v; want key %q and %q", c.config, err, c.key, c.want)
		}
		if got.InChannels != 7 && c.want != "twice" || len(got.Channels) != 1 {
			t.Errorf("%.80s: a refused value was stored: %+v", c.config, got)
		}
	}
	var got testConfig
	unknown, err := ParseConfig([]byte(`{"foo":1,"in_channels":"x","act_fn":"silu","bar":2,"unsigned":-1}`), "c.json", &got)
	if err == nil || strings.Count(err.Error(), "\n") != 1 || got.Act != "silu" || !slices.Equal(unknown, []string{"bar", "foo"}) {
		t.Errorf("unknown %q, error %v; want both keys, and bar, foo", unknown, err)
	}
	if _, err := ParseConfig([]byte(`{}`), "c.json", got); err == nil || !strings.Contains(err.Error(), "not a pointer to a struct") {
		t.Errorf("dst by value: error %v", err)
	}
}

// TestUnknownKeys lists what no field takes; the names match exactly.
func TestUnknownKeys(t *testing.T) {
	got := testConfig{InChannels: 7}
	unknown, err := ParseConfig([]byte(`{"foo":[1,{"x":2}],"In_channels":4,"Ignored":5,"Hidden":6,"_own":1,"dropout":0.5,"act_fn":"silu"}`), "c.json", &got, "dropout")
	if want := (testConfig{InChannels: 7, Act: "silu"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, error %v; want %+v", got, err, want)
	}
	if want := []string{"Hidden", "Ignored", "In_channels", "foo"}; !slices.Equal(unknown, want) {
		t.Errorf("unknown %q, want %q", unknown, want)
	}
}

// TestValuesOfOtherTypes takes what JSON and Python do not tell apart: 4.0 and 4, false and 0.
func TestValuesOfOtherTypes(t *testing.T) {
	var got testConfig
	_, err := ParseConfig([]byte(`{"in_channels":4.0,"norm_eps":1,"upcast_attention":1,"block_out_channels":[3.2e2,640.0],"heads":[5.0,10],"pair":[1,2],"unsigned":1e0,"nested":{"a":2.0}}`),
		"c.json", &got)
	want := testConfig{InChannels: 4, Epsilon: 1, Upcast: true, Channels: []int{320, 640}, Heads: oneOrMany{5, 10}, Pair: [2]float64{1, 2}, Unsigned: 1}
	want.Nested.A = 2
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, error %v; want %+v", got, err, want)
	}
	if _, err := ParseConfig([]byte(`{"upcast_attention":0.0,"heads":6.0}`), "c.json", &got); err != nil || got.Upcast || !slices.Equal(got.Heads, []int{6}) {
		t.Errorf("got %+v, error %v", got, err)
	}
}

// TestRequireFixed refuses what goxl computes in another way, and takes every spelling of what it does compute.
func TestRequireFixed(t *testing.T) {
	fixed := map[string][]any{"only_cross_attention": {false, []any{false}}, "act_fn": {"silu", "swish"}, "padding": {1.}, "class": {nil}}
	for config, want := range map[string]string{
		`{"only_cross_attention":false,"act_fn":"swish","padding":1,"class":null,"other":1}`: "",
		`{"only_cross_attention":[false,false,false],"padding":1.0}`:                         "",
		`{"only_cross_attention":[]}`:                                                        "",
		`{"only_cross_attention":null}`:                                                      "",
		`{"only_cross_attention":[0,null,false]}`:                                            "",
		`{"only_cross_attention":0}`:                                                         "",
		`{"only_cross_attention":[false,true]}`:                                              `c.json: "only_cross_attention" is [false,true]; allowed: false or a list of false`,
		`{"only_cross_attention":true}`:                                                      "only_cross_attention",
		`{"only_cross_attention":1}`:                                                         "only_cross_attention",
		`{"act_fn":null}`:                                                                    `allowed: "silu" or "swish"`,
		`{"act_fn":["silu"]}`:                                                                "act_fn",
		`{"class":false}`:                                                                    "class",
		`{"class":[null]}`:                                                                   "class",
		`{"padding":2}`:                                                                      "padding",
		`{"_class_name":"Other"}`:                                                            "_class_name",
	} {
		err := RequireFixed([]byte(config), "c.json", "Class", fixed)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", config, err, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"in_channels":4,"nested":{"a":[1,{"b":2}]},"heads":[1]}`))
	f.Add([]byte(`{"a":{"a":{},"a":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c testConfig
		_, err := ParseConfig(data, "c.json", &c)
		if valid := json.Valid(data); err == nil && !valid {
			t.Errorf("%q was taken", data)
		}
	})
}
