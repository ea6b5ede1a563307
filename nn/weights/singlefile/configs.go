package singlefile

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn/weights"
)

// config is a configuration file's content.
type config map[string]any

// MetadataPrefix begins the entries of a file's metadata that take part in its configurations. MetadataPrefix +
// "unet/config.json", say, is a JSON object whose keys replace those that goxl derives; whole files that it does not
// derive, such as tokenizer/tokenizer.json, are taken as they are. A checkpoint of the published widths needs none; one
// of other widths must give attention_head_dim and norm_num_groups, which no shape shows.
const MetadataPrefix = "goxl:"

// needs refuses widths that no published model has where the metadata does not give what no shape shows.
func (c *Checkpoint) needs(component, key string, width, unit int) error {
	file := MetadataPrefix + component + "/config.json"
	var patch config
	if width%unit == 0 || json.Unmarshal([]byte(c.metadata[file]), &patch) == nil && patch[key] != nil {
		return nil
	}
	return fmt.Errorf("a width of %d is no multiple of %d, as in every published model: the file's metadata must give %s in %s", width, unit, key, file)
}

// Derive makes Files: the configurations of the components that are there. Open has done it.
func (c *Checkpoint) Derive() error {
	for component, derive := range map[string]func(shapes) (config, error){
		UNet: c.unetConfig, VAE: c.vaeConfig,
		TextEncoder: func(s shapes) (config, error) {
			return c.encoderConfig(s, TextEncoder, "CLIPTextModel", "quick_gelu")
		},
		TextEncoder2: func(s shapes) (config, error) {
			return c.encoderConfig(s, TextEncoder2, "CLIPTextModelWithProjection", "gelu")
		},
	} {
		v := c.components[component]
		if v == nil {
			continue
		}
		content, err := derive(shapesOf(v))
		if err != nil {
			return fmt.Errorf("%s: %w", component, err)
		}
		c.configs[component+"/config.json"] = content
	}
	scheduler, err := c.schedulerConfig()
	if err != nil {
		return err
	}
	c.configs["scheduler/scheduler_config.json"] = scheduler
	c.configs["model_index.json"] = c.index()
	if scheduler["rescale_betas_zero_snr"] == true {
		c.configs["goxl.json"] = config{"guidance_rescale": ZeroSNRRescale}
	}
	return c.write()
}

// write puts the configurations into a file system, with what the metadata says of them.
func (c *Checkpoint) write() error {
	all := files{}
	for name, content := range c.configs {
		if text, ok := c.metadata[MetadataPrefix+name]; ok {
			var patch config
			if err := json.Unmarshal([]byte(text), &patch); err != nil {
				return fmt.Errorf("metadata %s: must be a JSON object: %w", MetadataPrefix+name, err)
			}
			maps.Copy(content, patch)
		}
		data, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return err
		}
		all[name] = data
	}
	for key, text := range c.metadata {
		name, ok := strings.CutPrefix(key, MetadataPrefix)
		if folder := path.Dir(name); ok && fs.ValidPath(name) && all[name] == nil && (folder == "tokenizer" || folder == "tokenizer_2" || name == "goxl.json") {
			all[name] = []byte(text)
		}
	}
	c.files = all
	return nil
}

// index is model_index.json of what the file holds.
func (c *Checkpoint) index() config {
	m := config{"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": true, "scheduler": []any{"diffusers", c.configs["scheduler/scheduler_config.json"]["_class_name"]}}
	if c.Refiner() {
		m["_class_name"], m["force_zeros_for_empty_prompt"], m["requires_aesthetics_score"] = "StableDiffusionXLImg2ImgPipeline", false, true
		m[TextEncoder], m["tokenizer"] = []any{nil, nil}, []any{nil, nil}
	}
	for component, class := range map[string][]any{
		UNet: {"diffusers", "UNet2DConditionModel"}, VAE: {"diffusers", "AutoencoderKL"},
		TextEncoder: {"transformers", "CLIPTextModel"}, TextEncoder2: {"transformers", "CLIPTextModelWithProjection"},
	} {
		if c.Has(component) {
			m[component] = class
		}
	}
	return m
}

// encoderConfig is that of a text encoder: published ones have heads of 64.
func (c *Checkpoint) encoderConfig(s shapes, component, class, act string) (config, error) {
	hidden := s.dim("text_model.embeddings.token_embedding.weight", 1)
	layers := s.count("text_model.encoder.layers")
	if hidden == 0 || layers == 0 {
		return nil, fmt.Errorf("it has no token_embedding or no layers")
	}
	if err := c.needs(component, "num_attention_heads", hidden, headSize); err != nil {
		return nil, err
	}
	return config{
		"architectures": []any{class}, "hidden_act": act, "hidden_size": hidden, "num_hidden_layers": layers,
		"intermediate_size": s.dim("text_model.encoder.layers.0.mlp.fc1.weight", 0), "num_attention_heads": max(1, hidden/headSize),
		"vocab_size":              s.dim("text_model.embeddings.token_embedding.weight", 0),
		"max_position_embeddings": s.dim("text_model.embeddings.position_embedding.weight", 0),
		"projection_dim":          max(s.dim("text_projection.weight", 0), 1), "layer_norm_eps": 1e-5,
		"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "model_type": "clip_text_model",
	}, nil
}

// vaeConfig is that of SDXL's VAE, as large as the shapes say. Playground's latents have statistics, which are in the
// file.
func (c *Checkpoint) vaeConfig(s shapes) (config, error) {
	m := config{
		"_class_name": "AutoencoderKL", "act_fn": "silu", "in_channels": 3, "out_channels": 3, "norm_num_groups": normGroups,
		"latent_channels": s.dim("decoder.conv_in.weight", 1), "layers_per_block": s.count("encoder.down_blocks.0.resnets"),
		"scaling_factor": 0.13025, "force_upcast": true, "sample_size": 1024,
		"use_quant_conv": s.has("quant_conv."), "use_post_quant_conv": s.has("post_quant_conv."), "mid_block_add_attention": s.has("decoder.mid_block.attentions."),
	}
	var channels, down, up []any
	for b := range s.count("encoder.down_blocks") {
		width := s.dim(fmt.Sprintf("encoder.down_blocks.%d.resnets.0.conv1.weight", b), 0)
		if err := c.needs(VAE, "norm_num_groups", width, normGroups); err != nil {
			return nil, err
		}
		channels = append(channels, width)
		down, up = append(down, "DownEncoderBlock2D"), append(up, "UpDecoderBlock2D")
	}
	if len(channels) == 0 {
		return nil, fmt.Errorf("it has no encoder: image-to-image needs one, and goxl takes whole VAEs alone")
	}
	m["block_out_channels"], m["down_block_types"], m["up_block_types"] = channels, down, up
	if c.Kind.Family != weights.Playground25 {
		return m, nil
	}
	mean, err := c.numbers("edm_mean")
	if err != nil {
		return nil, err
	}
	std, err := c.numbers("edm_std")
	if err != nil {
		return nil, err
	}
	m["scaling_factor"], m["latents_mean"], m["latents_std"] = 0.5, mean, std
	return m, nil
}

// shapes are a component's tensors, in diffusers' names.
type shapes struct {
	names []string
	view  *view
}

func shapesOf(v *view) shapes { return shapes{v.names, v} }

func (s shapes) has(prefix string) bool { return has(s.names, prefix) }
func (s shapes) count(path string) int  { return count(s.names, path) }

// dim is a dimension of a tensor, 0 if there is none.
func (s shapes) dim(name string, axis int) int {
	if _, found := slices.BinarySearch(s.names, name); !found {
		return 0
	}
	_, shape, err := s.view.Describe(name)
	if err != nil || axis >= len(shape) {
		return 0 // binding says what is wrong with it
	}
	return shape[axis]
}
