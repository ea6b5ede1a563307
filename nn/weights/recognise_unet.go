package weights

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// UNetTraits is what the tensors of a file say of the UNet in it.
type UNetTraits struct {
	Prefix   string // of its tensors, "model.diffusion_model." say
	Original bool   // its tensors have the names of generative-models, not diffusers'
	Input    int    // channels: 4, 8 or 9
	Width    int    // channels of the first level
	Context  int    // width of the prompt embeddings; 0 without cross-attention
	Added    int    // width of what is embedded beside the timestep: pooled text and micro-conditioning; 0 without
	Down     []int  // transformer blocks behind each residual block on the way down
	Middle   int    // transformer blocks in the middle; −1 for a residual block alone, −2 for none
}

// unetPrefixes are where files keep a UNet: single files, ComfyUI's, those of other trainers, bare ones.
var unetPrefixes = []string{"model.diffusion_model.", "model.model.", "diffusion_model.", "net.", "unet.", "model.", ""}

// FindUNet looks for a UNet with cross-attention by names and shapes alone.
func FindUNet(src kernels.Source) (UNetTraits, bool) { return findUNet(tensorsOf(src)) }

func findUNet(f tensorIndex) (UNetTraits, bool) {
	for _, prefix := range unetPrefixes {
		if f.shape(prefix+"input_blocks.0.0.weight") != nil && f.shape(prefix+"time_embed.0.weight") != nil && f.has(prefix+"output_blocks.") {
			return f.unet(prefix, true), true
		}
		if f.shape(prefix+"conv_in.weight") != nil && f.shape(prefix+"time_embedding.linear_1.weight") != nil && f.has(prefix+"up_blocks.") {
			return f.unet(prefix, false), true
		}
	}
	return UNetTraits{}, false
}

func (f tensorIndex) unet(prefix string, original bool) UNetTraits {
	t := UNetTraits{Prefix: prefix, Original: original, Middle: -2}
	first, added, middle := "conv_in.weight", "add_embedding.linear_1.weight", "mid_block.attentions.0"
	if original {
		first, added, middle = "input_blocks.0.0.weight", "label_emb.0.0.weight", "middle_block.1"
	}
	t.Width, t.Input, t.Added = f.dim(prefix+first, 0), f.dim(prefix+first, 1), f.dim(prefix+added, 1)
	attentions := f.unetAttentions(prefix, original)
	for _, path := range attentions {
		t.Down = append(t.Down, f.count(path+".transformer_blocks"))
	}
	switch {
	case f.has(prefix + middle + "."):
		t.Middle = f.count(prefix + middle + ".transformer_blocks")
		attentions = append(attentions, prefix+middle)
	case f.has(prefix + "mid_block.resnets."), f.has(prefix + "middle_block."):
		t.Middle = -1
	}
	for _, path := range attentions {
		if n := f.dim(path+".transformer_blocks.0.attn2.to_k.weight", 1); n > 0 {
			t.Context = n
		}
	}
	return t
}

// unetAttentions are where the transformers behind the residual blocks of the way down lie, or would lie.
func (f tensorIndex) unetAttentions(prefix string, original bool) (paths []string) {
	if original {
		for n := 1; f.has(fmt.Sprintf("%sinput_blocks.%d.", prefix, n)); n++ {
			if !f.has(fmt.Sprintf("%sinput_blocks.%d.0.op.", prefix, n)) {
				paths = append(paths, fmt.Sprintf("%sinput_blocks.%d.1", prefix, n))
			}
		}
		return paths
	}
	for b := 0; f.has(fmt.Sprintf("%sdown_blocks.%d.", prefix, b)); b++ {
		for j := range f.count(fmt.Sprintf("%sdown_blocks.%d.resnets", prefix, b)) {
			paths = append(paths, fmt.Sprintf("%sdown_blocks.%d.attentions.%d", prefix, b, j))
		}
	}
	return paths
}

// family is that of the published UNets, by width and depth; UnknownFamily for others.
func (t UNetTraits) family() Family {
	switch {
	case t.Context == 768, t.Context == 1024, t.Added == 0 && t.Context > 0:
		return StableDiffusion
	case t.Context == 1280 && t.Added == 2560:
		return SDXLRefiner
	case t.Context != 2048 || t.Added != 2816:
		return UnknownFamily
	}
	for family, depth := range map[Family][]int{
		SSD1B: {0, 0, 2, 2, 4, 4}, SegmindVega: {0, 0, 1, 1, 2, 2}, KOALA700M: {0, 2, 5}, KOALA1B: {0, 2, 6},
	} {
		if slices.Equal(t.Down, depth) {
			return family
		}
	}
	return SDXLBase
}

// sdxlFamily is the family of an SDXL UNet, whatever its size, by its input channels and the tensors beside it that say
// what it predicts.
func sdxlFamily(f tensorIndex, t UNetTraits, refiner bool) Family {
	family := t.family()
	switch {
	case refiner:
		return SDXLRefiner
	case t.Input == 9:
		return SDXLInpainting
	case t.Input == 8:
		return SDXLInstruct
	case f.has("edm_mean"), f.has("edm_std"):
		return Playground25
	case f.has("edm_vpred.sigma_max"):
		return CosXL
	case family == UnknownFamily, family == SDXLRefiner:
		return SDXLBase
	}
	return family
}

// prediction says what the tensors beside a UNet tell of what it predicts; "" for noise.
func (f tensorIndex) prediction() string {
	var said []string
	switch {
	case f.has("edm_mean"), f.has("edm_std"):
		return "EDM"
	case f.has("edm_vpred.sigma_max"):
		said = append(said, "v-prediction, EDM")
	case f.has("v_pred"):
		said = append(said, "v-prediction")
	}
	if f.has("ztsnr") {
		said = append(said, "zero terminal SNR")
	}
	return strings.Join(said, ", ")
}
