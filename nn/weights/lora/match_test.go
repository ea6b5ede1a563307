package lora

import (
	"math"
	"slices"
	"strings"
	"testing"
)

const (
	tinyQ   = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"   // 32 by 32
	kohyaK  = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"        // 32 by 80
	kohyaTE = "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"             // 48 by 48
	pathK   = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight" // in the tiny model
)

// pair is a LoRA of rank 2.
func pair(stem string, rows, cols int) tensors {
	return tensors{stem + ".lora_up.weight": ramp(rows, 2), stem + ".lora_down.weight": ramp(2, cols)}
}

// with joins tensors; later ones replace earlier.
func with(all ...tensors) tensors {
	out := tensors{}
	for _, t := range all {
		for name, v := range t {
			out[name] = v
		}
	}
	return out
}

// TestReport wants modules that the model has not, or not in this shape, reported by name, and the others taken.
func TestReport(t *testing.T) {
	f := open(t, with(pair(kohyaQ, 32, 32), pair("lora_unet_input_blocks_99_1_proj_in", 32, 32), pair(kohyaTE, 40, 48), tensors{
		"lora_te1_text_projection.lora_up.weight": ramp(3, 2), "lora_te1_text_projection.lora_down.weight": ramp(2, 3),
		"somewhere.else": ramp(3), "lora_unet_conv_in.weight": ramp(16, 4, 3, 3),
		kohyaQ + ".diff_b": ramp(32), // to_q has no bias
	}), nil)
	a, report, err := f.Match(targets(t, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	if report.Matched != 1 || report.Modules != 5 {
		t.Errorf("%v", report)
	}
	var names []string
	for _, u := range report.Unmatched {
		names = append(names, u.Name)
		if u.Why == "" {
			t.Errorf("%s: no reason", u.Name)
		}
	}
	slices.Sort(names)
	want := []string{"lora_te2_text_model_encoder_layers_0_self_attn_q_proj", "lora_unet_conv_in",
		"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.diff_b", "lora_unet_input_blocks_99_1_proj_in", "somewhere.else"}
	if !slices.Equal(names, want) {
		t.Errorf("not matched: %q, want %q", names, want)
	}
	if got := a.Names(unet); !slices.Equal(got, []string{pathQ + ".weight"}) || a.Names(textEncoder2) != nil {
		t.Errorf("changes %v", got)
	}
	if s := report.String(); !strings.HasPrefix(s, "1 of 5 modules; not matched: ") || !strings.Contains(s, "input_blocks_99") {
		t.Errorf("report %q", s)
	}
}

// TestMixedSpellings puts names of both kinds into one file.
func TestMixedSpellings(t *testing.T) {
	f := open(t, with(pair(kohyaK, 32, 80), pair("lora_unet_up_blocks_0_attentions_2_proj_in", 48, 48), pair(tinyQ, 32, 32)), nil)
	if _, report, err := f.Match(targets(t, "tiny")); err != nil || report.String() != "3 of 3 modules" {
		t.Errorf("%v, %v", report, err)
	}
}

// TestOtherFamilies wants files for other models named, by their shapes and names and never by their metadata.
func TestOtherFamilies(t *testing.T) {
	k := "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
	for _, c := range []struct {
		file tensors
		want string
	}{
		{pair(k, 640, 768), "Stable Diffusion 1: its context width is 768, but the model's is 2048, SDXL base"},
		{pair(k, 640, 1024), "Stable Diffusion 2"},
		{pair(k, 640, 1280), "the SDXL refiner"},
		{tensors{k + ".hada_w1_a": ramp(640, 2), k + ".hada_w1_b": ramp(2, 768), k + ".hada_w2_a": ramp(640, 2), k + ".hada_w2_b": ramp(2, 768)}, "Stable Diffusion 1"},
		{pair("lora_unet_double_blocks_0_img_attn_proj", 8, 8), "Flux"},
		{pair("transformer.single_transformer_blocks.0.attn.to_q", 8, 8), "Flux"},
		{pair("lora_unet_joint_blocks_0_x_block_attn_proj", 8, 8), "Stable Diffusion 3"},
		{pair("lora_unet_blocks_0_cross_attn_k", 8, 8), "Wan"},
		{pair("lora_unet_input_blocks_99_1_proj_in", 8, 8), "nothing in it fits the model: 0 of 1 modules; not matched: lora_unet_input_blocks_99_1_proj_in"},
		{tensors{"a": ramp(3)}, "nothing in it fits the model: 0 of 1 modules"},
		{tensors{"decoder.conv_in.weight": ramp(2, 4, 3, 3), "encoder.conv_in.weight": ramp(2, 3, 3, 3)}, "this is a VAE component, not an adapter: give it with -vae"},
		{tensors{"clip_l": ramp(1, 768), "clip_g": ramp(1, 1280)}, "this is an SDXL base textual inversion embedding, not an adapter: give it with -embedding"},
		{tensors{"bundle_emb.x.clip_l": ramp(1, 768)}, "embeddings only"},
		{tensors{}, "no adapter"},
	} {
		f := open(t, c.file, map[string]string{"ss_base_model_version": "sdxl_base_v1-0"})
		if _, _, err := f.Match(targets(t, "base")); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), f.Path()) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// TestDamaged wants a damaged module to be an error that names it and what is wrong.
func TestDamaged(t *testing.T) {
	nan := ramp(2, 32)
	nan.x[40] = float32(math.NaN())
	inf := ramp(32, 2)
	inf.x[3] = float32(math.Inf(-1))
	q := pair(kohyaQ, 32, 32)
	sparse := tensors{kohyaQ + ".bias_indices": ramp(2, 3), kohyaQ + ".bias_values": ramp(3)}
	for name, c := range map[string]struct {
		file tensors
		want []string
	}{
		"NaN":             {with(q, tensors{kohyaQ + ".lora_down.weight": nan}), []string{kohyaQ + ".lora_down.weight", "NaN"}},
		"Inf":             {with(q, tensors{kohyaQ + ".lora_up.weight": inf}), []string{kohyaQ + ".lora_up.weight", "NaN or Inf"}},
		"NaN in alpha":    {with(q, tensors{kohyaQ + ".alpha": one(float32(math.NaN()))}), []string{kohyaQ + ".alpha", "NaN"}},
		"ranks":           {with(q, tensors{kohyaQ + ".lora_up.weight": ramp(32, 3)}), []string{"[32 3]", "[2 32]", kohyaQ}},
		"alpha's shape":   {with(q, tensors{kohyaQ + ".alpha": ramp(2)}), []string{kohyaQ + ".alpha", "[2]", "one number"}},
		"no down":         {tensors{kohyaQ + ".lora_up.weight": ramp(32, 2)}, []string{kohyaQ + ".lora_down", "missing"}},
		"no up":           {tensors{kohyaQ + ".lora_down.weight": ramp(2, 32)}, []string{kohyaQ + ".lora_up", "missing"}},
		"two spellings":   {with(q, pair(tinyQ, 32, 32)), []string{kohyaQ, tinyQ, "same part of the same module"}},
		"two kinds":       {with(q, tensors{kohyaQ + ".lokr_w1": ramp(4, 4), kohyaQ + ".lokr_w2": ramp(8, 8)}), []string{kohyaQ, "LoRA and LoKr"}},
		"Tucker's rank":   {with(q, tensors{kohyaQ + ".lora_mid.weight": ramp(3, 3, 1, 1)}), []string{kohyaQ + ".lora_mid", "[3 3 1 1]"}},
		"LoHa's rank":     {tensors{kohyaQ + ".hada_w1_a": ramp(32, 3), kohyaQ + ".hada_w1_b": ramp(2, 32)}, []string{kohyaQ + ".hada_w1_a", "[32 3]"}},
		"LoKr's rank":     {tensors{kohyaQ + ".lokr_w1_a": ramp(4, 3), kohyaQ + ".lokr_w1_b": ramp(2, 4)}, []string{kohyaQ + ".lokr_w1_a", "[4 3]"}},
		"LoKr's half":     {tensors{kohyaQ + ".lokr_w1": ramp(4, 4)}, []string{kohyaQ + ".lokr_w2", "missing"}},
		"GLoRA's part":    {tensors{kohyaQ + ".a1.weight": ramp(32, 2)}, []string{kohyaQ + ".a2.weight", "missing"}},
		"OFT's shape":     {tensors{kohyaQ + ".oft_blocks": ramp(8, 4, 3)}, []string{kohyaQ + ".oft_blocks", "[8 4 3]"}},
		"OFT's rescale":   {tensors{kohyaQ + ".oft_blocks": ramp(8, 4, 4), kohyaQ + ".rescale": ramp(8)}, []string{kohyaQ + ".rescale", "[8]", "32 numbers"}},
		"BOFT's stages":   {tensors{kohyaQ + ".oft_blocks": ramp(7, 8, 4, 4)}, []string{kohyaQ + ".oft_blocks", "[7 8 4 4]"}},
		"DoRA's shape":    {with(q, tensors{kohyaQ + ".dora_scale": ramp(5, 1)}), []string{kohyaQ + ".dora_scale", "[5 1]", "32 outputs"}},
		"DoRA alone":      {tensors{kohyaQ + ".dora_scale": ramp(32, 1)}, []string{kohyaQ + ".dora_scale"}},
		"IA3's part":      {tensors{kohyaQ + ".on_input": one(1)}, []string{kohyaQ + ".weight", "missing"}},
		"a part too many": {with(q, tensors{kohyaQ + ".rescale": ramp(32)}), []string{kohyaQ + ".rescale", "does not go with"}},
		"sparse's part":   {sparse, []string{kohyaQ + ".bias_size", "missing"}},
		"sparse's type":   {with(sparse, tensors{kohyaQ + ".bias_size": ramp(2)}), []string{kohyaQ + ".bias_size", "F32"}},
		"an empty factor": {with(q, tensors{kohyaQ + ".lora_up.weight": ramp(32, 0)}), []string{kohyaQ + ".lora_up.weight", "[32 0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, with(c.file, pair(kohyaK, 32, 80)), nil)
			a, _, err := f.Match(targets(t, "tiny"))
			if err == nil {
				t.Fatalf("no error, changes %v", a.Names(unet))
			}
			for _, w := range append(c.want, f.Path()) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %v: must name %q", err, w)
				}
			}
		})
	}
}

// TestManyDamaged wants an error that ends.
func TestManyDamaged(t *testing.T) {
	all := tensors{}
	for name := range targets(t, "tiny")[unet] {
		if path, ok := strings.CutSuffix(name, ".weight"); ok {
			all["unet."+path+".lora_up.weight"] = ramp(2, 2)
		}
	}
	_, _, err := open(t, all, nil).Match(targets(t, "tiny"))
	if err == nil || strings.Count(err.Error(), "\n") != mostErrors || !strings.Contains(err.Error(), "more") {
		t.Errorf("error %v", err)
	}
}
