package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
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
	err := ParseConfig([]byte(`{"_class_name":"UNet","_diffusers_version":"0.19","in_channels":4,"act_fn":"silu","upcast_attention":null,
		"block_out_channels":[320,640],"class_embed_type":"timestep","heads":5,"nested":{"a":1},"dropout":0.0}`), "unet/config.json", &got, "dropout")
	want := testConfig{InChannels: 4, Epsilon: 1e-6, Act: "silu", Channels: []int{320, 640}, Class: &class, Heads: oneOrMany{5}}
	want.Nested.A = 1
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, error %v; want %+v", got, err, want)
	}
	got.Heads = nil
	if err := ParseConfig([]byte(`{"class_embed_type":null,"block_out_channels":null,"heads":[1,2]}`), "f", &got); err != nil || got.Class != nil || got.Channels != nil || len(got.Heads) != 2 {
		t.Errorf("null: %+v, error %v", got, err)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for _, c := range []struct{ config, key, want string }{
		{`{"foo":[1, {"x": 2}]}`, "foo", `c.json: "foo" is [1,{"x":2}]; allowed: to leave it out, goxl does not know`},
		{`{"In_channels":4}`, "In_channels", "does not know"},
		{`{"Ignored":4}`, "Ignored", "does not know"},
		{`{"Hidden":4}`, "Hidden", "does not know"},
		{`{"in_channels":"4"}`, "in_channels", `"in_channels" is "4"; allowed: a whole number`},
		{`{"in_channels":4.5}`, "in_channels", "is 4.5; allowed: a whole number"},
		{`{"in_channels":99999999999999999999}`, "in_channels", "a whole number"},
		{`{"in_channels":null}`, "in_channels", "is null; allowed: a whole number"},
		{`{"unsigned":-1}`, "unsigned", "a whole number from 0 on"},
		{`{"norm_eps":"1e-5"}`, "norm_eps", "a number"},
		{`{"act_fn":1}`, "act_fn", "a string"},
		{`{"upcast_attention":"true"}`, "upcast_attention", "true or false"},
		{`{"upcast_attention":0}`, "upcast_attention", "true or false"},
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
		err := ParseConfig([]byte(c.config), "c.json", &got, "dropout")
		var ce *ConfigError
		if !errors.As(err, &ce) || ce.File != "c.json" || ce.Key != c.key || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%.80s: error %v; want key %q and %q", c.config, err, c.key, c.want)
		}
		if got.InChannels != 7 && c.want != "twice" || len(got.Channels) != 1 {
			t.Errorf("%.80s: a refused value was stored: %+v", c.config, got)
		}
	}
	var got testConfig
	err := ParseConfig([]byte(`{"foo":1,"in_channels":"x","act_fn":"silu","bar":2}`), "c.json", &got)
	if err == nil || strings.Count(err.Error(), "\n") != 2 || got.Act != "silu" {
		t.Errorf("error %v; want all three keys", err)
	}
	if err := ParseConfig([]byte(`{}`), "c.json", got); err == nil || !strings.Contains(err.Error(), "not a pointer to a struct") {
		t.Errorf("dst by value: error %v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"in_channels":4,"nested":{"a":[1,{"b":2}]},"heads":[1]}`))
	f.Add([]byte(`{"a":{"a":{},"a":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c testConfig
		err := ParseConfig(data, "c.json", &c)
		if valid := json.Valid(data); err == nil && !valid {
			t.Errorf("%q was taken", data)
		}
	})
}
