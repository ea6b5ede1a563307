package controlnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn/weights"
)

// The classes of diffusers.
const (
	plainClass = "ControlNetModel"
	unionClass = "ControlNetUnionModel"
	firstUnion = "ControlNetModel_Union" // as the first union's own folder has it
)

// Config is the part of a ControlNetModel's or ControlNetUnionModel's config.json that shapes it.
type Config struct {
	UNet unet.Config `json:"-"` // of the way down and the middle, which are a UNet's

	Channels      int      `json:"conditioning_channels"`                 // of the control image: 3
	Order         string   `json:"controlnet_conditioning_channel_order"` // of the control image: rgb or bgr
	HintChannels  []int    `json:"conditioning_embedding_out_channels"`   // of what the control image goes through; each but the first halves it
	GlobalPool    bool     `json:"global_pool_conditions"`                // residuals are their means over the image; such a net is run in guess mode
	ControlTypes  int      `json:"num_control_type"`                      // of a union: kinds of control images, 6, of ProMax 8; 0 is no union
	FusedChannels int      `json:"num_trans_channel"`                     // of a union: the width of what fuses the images
	FusedHeads    int      `json:"num_trans_head"`                        // of a union
	FusedLayers   int      `json:"num_trans_layer"`                       // of a union
	FusedOut      int      `json:"num_proj_channel"`                      // of a union
	Unknown       []string `json:"-"`                                     // keys of the file that the class does not have; they change nothing
}

// Union reports whether the net takes several kinds of control images.
func (c Config) Union() bool { return c.ControlTypes > 0 }

// Limits of sizes that no tensor bounds before the model is declared.
const (
	maxHintLevels = 8
	maxTypes      = 64
)

// errOtherFamily is of a net whose UNet has no micro-conditioning.
var errOtherFamily = errors.New("the ControlNet is of Stable Diffusion 1 or 2: must be of SDXL, whose addition_embed_type is text_time")

// ParseConfig reads config.json; file is the name that errors give it. A value that changes the numbers and is not
// computed here is an error; keys that the class does not have are listed in Unknown.
func ParseConfig(data []byte, file string) (Config, error) {
	c := Config{Channels: 3, Order: "rgb"}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return c, &weights.ConfigError{File: file, Allowed: "an object: " + err.Error()}
	}
	var class string
	err := json.Unmarshal(members["_class_name"], &class)
	if class == firstUnion {
		class = unionClass
	}
	if err != nil || class != plainClass && class != unionClass {
		return c, &weights.ConfigError{File: file, Key: "_class_name", Value: string(members["_class_name"]), Allowed: plainClass + " or " + unionClass}
	}
	if added, ok := members["addition_embed_type"]; !ok || string(added) == "null" {
		return c, fmt.Errorf("%s: %w", file, errOtherFamily)
	}
	c.HintChannels = []int{16, 32, 96, 256}
	own := []string{"conditioning_channels", "controlnet_conditioning_channel_order", "conditioning_embedding_out_channels", "global_pool_conditions"}
	if class == unionClass {
		c.HintChannels = []int{48, 96, 192, 384}
		c.ControlTypes, c.FusedChannels, c.FusedHeads, c.FusedLayers, c.FusedOut = 6, 320, 8, 1, 320
		own = append(own, "num_control_type", "num_trans_channel", "num_trans_head", "num_trans_layer", "num_proj_channel")
	}
	of := map[string]json.RawMessage{}
	for key, value := range members {
		if slices.Contains(own, key) {
			of[key] = value
			delete(members, key)
		}
	}
	part, err := json.Marshal(of)
	if err != nil {
		return c, err
	}
	if _, err := weights.ParseConfig(part, file, &c); err != nil {
		return c, err
	}
	if c.UNet, err = parseUNet(members, file); err != nil {
		return c, err
	}
	c.Unknown = c.UNet.Unknown
	return c, c.validate(file)
}

// parseUNet reads the keys that a UNet has too, as those of the UNet whose way up mirrors the way down.
func parseUNet(members map[string]json.RawMessage, file string) (unet.Config, error) {
	members["_class_name"] = json.RawMessage(`"UNet2DConditionModel"`)
	down := []string{"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"}
	if list, ok := members["down_block_types"]; ok {
		if err := json.Unmarshal(list, &down); err != nil {
			return unet.Config{}, &weights.ConfigError{File: file, Key: "down_block_types", Value: string(list), Allowed: "a list of names"}
		}
	}
	var up []string
	for _, name := range slices.Backward(down) {
		up = append(up, strings.Replace(name, "Down", "Up", 1))
	}
	var err error
	if members["up_block_types"], err = json.Marshal(up); err != nil {
		return unet.Config{}, err
	}
	if depths, ok := members["transformer_layers_per_block"]; ok {
		members["transformer_layers_per_block"] = withoutZeros(depths, down)
	}
	data, err := json.Marshal(members)
	if err != nil {
		return unet.Config{}, err
	}
	return unet.ParseConfig(data, file)
}

// withoutZeros is a list of depths in which levels without attention, whose depth nothing reads and may be 0, have 1.
func withoutZeros(depths json.RawMessage, types []string) json.RawMessage {
	var list []int
	if json.Unmarshal(depths, &list) != nil || len(list) != len(types) {
		return depths // ParseConfig says what is wrong
	}
	for i := range list {
		if !strings.HasPrefix(types[i], "CrossAttn") && list[i] == 0 {
			list[i] = 1
		}
	}
	data, err := json.Marshal(list)
	if err != nil {
		return depths
	}
	return data
}

func (c Config) validate(file string) error {
	bad := func(key string, value any, allowed string, args ...any) error {
		return &weights.ConfigError{File: file, Key: key, Value: fmt.Sprint(value), Allowed: fmt.Sprintf(allowed, args...)}
	}
	switch {
	case c.UNet.MidBlockType == unet.NoMid:
		return bad("mid_block_type", "null", "%s or %s", unet.CrossAttnMid, unet.PlainMid)
	case c.Channels != 3:
		return bad("conditioning_channels", c.Channels, "3, of a colour image")
	case c.Order != "rgb" && (c.Order != "bgr" || c.Union()):
		return bad("controlnet_conditioning_channel_order", c.Order, "rgb, or bgr of a %s", plainClass)
	case len(c.HintChannels) < 1 || len(c.HintChannels) > maxHintLevels || slices.Min(c.HintChannels) < 1:
		return bad("conditioning_embedding_out_channels", c.HintChannels, "1 to %d positive numbers", maxHintLevels)
	case !c.Union():
		return nil
	case c.ControlTypes < 1 || c.ControlTypes > maxTypes:
		return bad("num_control_type", c.ControlTypes, "1 to %d", maxTypes)
	case c.FusedChannels != c.UNet.BlockOutChannels[0]:
		return bad("num_trans_channel", c.FusedChannels, "%d, the channels of the first level, whose means are fused", c.UNet.BlockOutChannels[0])
	case c.FusedOut != c.UNet.BlockOutChannels[0]:
		return bad("num_proj_channel", c.FusedOut, "%d, the channels of the first level, which it is added to", c.UNet.BlockOutChannels[0])
	case c.FusedHeads < 1 || c.FusedChannels%c.FusedHeads != 0:
		return bad("num_trans_head", c.FusedHeads, "a divisor of num_trans_channel %d", c.FusedChannels)
	case c.FusedLayers < 0 || c.FusedLayers > maxTypes:
		return bad("num_trans_layer", c.FusedLayers, "0 to %d", maxTypes)
	}
	return nil
}

// ReadsText reports whether the net has cross-attention; the published small one has none.
func (c Config) ReadsText() bool {
	return c.UNet.MidBlockType == unet.CrossAttnMid || slices.ContainsFunc(c.UNet.DownBlockTypes, func(t string) bool { return strings.HasPrefix(t, "CrossAttn") })
}

// ScaleFactor is the pixels a side of a latent.
func (c Config) ScaleFactor() int { return 1 << (len(c.HintChannels) - 1) }
