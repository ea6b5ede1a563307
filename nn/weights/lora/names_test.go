package lora

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"
)

// TestNames looks modules up in every spelling.
func TestNames(t *testing.T) {
	base, refiner := newNames(targets(t, "base")), newNames(targets(t, "refiner"))
	const q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
	const out = "up_blocks.0.attentions.2.transformer_blocks.9.attn2.to_out.0"
	const layer = "text_model.encoder.layers.3.self_attn.q_proj"
	for _, c := range []struct {
		names           *names
		stem            string
		component, path string
	}{
		{base, "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", unet, q},
		{base, "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", unet, q},
		{base, "oft_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", unet, q},
		{base, "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", unet, q},
		{base, "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q", unet, q},
		{base, "diffusion_model_input_blocks_4_1_transformer_blocks_0_attn1_to_q", unet, q},
		{base, "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", unet, q},
		{base, "unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q", unet, q},
		{base, "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q", unet, q},
		{base, "down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q", unet, q},
		{base, "base_model.model." + q, unet, q},
		{base, "lora_unet_output_blocks_2_1_transformer_blocks_9_attn2_to_out_0", unet, out},
		{base, "unet.up_blocks.0.attentions.2.transformer_blocks.9.attn2.processor.to_out", unet, out},
		{base, "lora_unet_middle_block_2_in_layers_2", unet, "mid_block.resnets.1.conv1"},
		{base, "lora_unet_middle_block_0_out_layers_3", unet, "mid_block.resnets.0.conv2"},
		{base, "lora_unet_middle_block_1_proj_in", unet, "mid_block.attentions.0.proj_in"},
		{base, "lora_unet_output_blocks_3_1_proj_out", unet, "up_blocks.1.attentions.0.proj_out"},
		{base, "lora_unet_input_blocks_3_0_op", unet, "down_blocks.0.downsamplers.0.conv"},
		{base, "lora_unet_output_blocks_2_2_conv", unet, "up_blocks.0.upsamplers.0.conv"},
		{base, "lora_unet_output_blocks_8_0_skip_connection", unet, "up_blocks.2.resnets.2.conv_shortcut"},
		{base, "lora_unet_input_blocks_1_0_emb_layers_1", unet, "down_blocks.0.resnets.0.time_emb_proj"},
		{base, "lora_unet_input_blocks_0_0", unet, "conv_in"},
		{base, "lora_unet_out_2", unet, "conv_out"},
		{base, "lora_unet_out_0", unet, "conv_norm_out"},
		{base, "lora_unet_time_embed_2", unet, "time_embedding.linear_2"},
		{base, "lora_unet_label_emb_0_0", unet, "add_embedding.linear_1"},
		{base, "lora_te1_text_model_encoder_layers_3_self_attn_q_proj", textEncoder, layer},
		{base, "lora_te_text_model_encoder_layers_3_self_attn_q_proj", textEncoder, layer},
		{base, "lora_te2_text_model_encoder_layers_3_self_attn_q_proj", textEncoder2, layer},
		{base, "text_encoder." + layer, textEncoder, layer},
		{base, "text_encoder.encoder.layers.3.self_attn.q_proj", textEncoder, layer},
		{base, "text_encoder_2." + layer, textEncoder2, layer},
		{base, "text_encoder.text_model.encoder.layers.3.self_attn.to_q", textEncoder, layer},
		{base, "clip_l." + layer, textEncoder, layer},
		{base, "clip_g.transformer." + layer, textEncoder2, layer},
		{base, "text_encoders.clip_g.transformer." + layer, textEncoder2, layer},
		{base, "lora_te2_text_projection", textEncoder2, "text_projection"},
		{base, "lora_te1_text_projection", "", ""},
		{base, "lora_te3_text_model_encoder_layers_3_self_attn_q_proj", "", ""},
		{base, "lora_unet_input_blocks_3_1_proj_in", "", ""},
		{refiner, "lora_te_text_model_encoder_layers_3_self_attn_q_proj", textEncoder2, layer},
		{refiner, "text_encoder." + layer, textEncoder2, layer},
		{refiner, "lora_te1_text_model_encoder_layers_3_self_attn_q_proj", "", ""},
		{refiner, "lora_unet_input_blocks_4_1_proj_in", unet, "down_blocks.1.attentions.0.proj_in"},
		{refiner, "lora_unet_output_blocks_2_1_conv", unet, "up_blocks.0.upsamplers.0.conv"},
		{refiner, "lora_unet_output_blocks_8_2_conv", unet, "up_blocks.2.upsamplers.0.conv"},
	} {
		m, ok := c.names.find(c.stem)
		if m.component != c.component || m.path != c.path || ok != (c.path != "") {
			t.Errorf("%s is %v, %v, want %s %s", c.stem, m, ok, c.component, c.path)
		}
	}
}

func TestParseKey(t *testing.T) {
	for _, c := range []struct {
		key, stem string
		part      part
	}{
		{"lora_unet_x.lora_down.weight", "lora_unet_x", down},
		{"lora_unet_up_blocks_0.lora_up.weight", "lora_unet_up_blocks_0", up},
		{"unet.a.to_q.lora_A.weight", "unet.a.to_q", down},
		{"unet.a.to_q.lora_B.default.weight", "unet.a.to_q", up},
		{"unet.a.to_q.lora_B.default.bias", "unet.a.to_q", upBias},
		{"unet.a.to_q.lora_B.bias", "unet.a.to_q", upBias},
		{"unet.a.to_q.lora_A", "unet.a.to_q", down},
		{"unet.a.to_q.lora_A.style", "unet.a.to_q", down},
		{"unet.a.to_q.lora_magnitude_vector", "unet.a.to_q", magnitude},
		{"unet.a.to_q.lora_magnitude_vector.default.weight", "unet.a.to_q", magnitude},
		{"unet.a.processor.to_q_lora.up.weight", "unet.a.processor.to_q", up},
		{"unet.a.to_q.lora.down.weight", "unet.a.to_q", down},
		{"text_encoder.a.fc1.lora_linear_layer.up.weight", "text_encoder.a.fc1", up},
		{"x.alpha", "x", alpha}, {"x.dora_scale", "x", doraScale}, {"x.hada_w1_a", "x", hadaW1A}, {"x.lokr_w2_b", "x", lokrW2B},
		{"x.diff", "x", diff}, {"x.diff_b", "x", diffBias}, {"x.b2.weight", "x", gloraB2}, {"x.weight", "x", ia3Weight},
		{"x.bias_indices", "x", sparseIndices}, {"x.oft_blocks", "x", oftBlocks},
		{"alpha", "", ""}, {".alpha", "", ""}, {"x.lora_A.a.b.weight", "x.lora_A.a.b", ia3Weight}, {"lora_up.weight", "lora_up", ia3Weight},
		{"x.reshape_weight", "", ""}, {"", "", ""},
	} {
		stem, p, ok := parseKey(c.key)
		if stem != c.stem || p != c.part || ok != (c.part != "") {
			t.Errorf("%q is %q, %q, %v, want %q, %q", c.key, stem, p, ok, c.stem, c.part)
		}
	}
}

// TestKohyaNames looks up every name that kohya's trainer gives the modules of SDXL, and compares with diffusers'
// reading of it.
func TestKohyaNames(t *testing.T) {
	f, err := os.Open("testdata/names.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Names map[string]string }
	if err := json.NewDecoder(z).Decode(&golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Names) < 722 {
		t.Fatalf("%d names", len(golden.Names))
	}
	n := newNames(targets(t, "base"))
	for name, path := range golden.Names {
		if m, ok := n.find(name); !ok || m.component != unet || m.path != path {
			t.Errorf("%s is %v, %v, want %s", name, m, ok, path)
		}
	}
}
