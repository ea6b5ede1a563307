package weights

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// tensorIndex is the names, sorted, and the shapes of a file's tensors, of element types that no model takes too.
type tensorIndex struct {
	names []string
	shape func(name string) []int // nil if there is none
}

// tensorsOf indexes a source, by what its file says where it has one.
func tensorsOf(src kernels.Source) tensorIndex {
	f := tensorIndex{names: src.Names()}
	f.shape = func(name string) []int {
		if _, found := slices.BinarySearch(f.names, name); !found {
			return nil
		}
		if stored, ok := src.(interface {
			Stored(string) (string, []int, int64, error)
		}); ok {
			_, shape, _, _ := stored.Stored(name) // of a name that it lists, there is no error
			return append([]int{}, shape...)
		}
		_, shape, _ := src.Describe(name) // nil of a type that no model takes
		return append([]int{}, shape...)
	}
	return f
}

// has reports whether a tensor has the name, or one that begins with it.
func (f tensorIndex) has(prefix string) bool {
	i, _ := slices.BinarySearch(f.names, prefix)
	return i < len(f.names) && strings.HasPrefix(f.names[i], prefix)
}

// dim is a dimension of a tensor, 0 if it has none.
func (f tensorIndex) dim(name string, axis int) int {
	if shape := f.shape(name); axis < len(shape) {
		return shape[axis]
	}
	return 0
}

// count is how many of the entries path.0, path.1 … there are.
func (f tensorIndex) count(path string) int {
	n := 0
	for f.has(fmt.Sprintf("%s.%d.", path, n)) {
		n++
	}
	return n
}

// RecogniseTensors detects what a file's tensors are, by their names and shapes.
func RecogniseTensors(src kernels.Source) Kind { return recogniseTensors(tensorsOf(src)) }

func recogniseTensors(f tensorIndex) Kind {
	for _, recognise := range []func(tensorIndex) (Kind, bool){recogniseLoRA, recogniseControl, recogniseModel, recogniseComponent} {
		if k, ok := recognise(f); ok {
			return k
		}
	}
	if len(f.names) == 0 {
		return Kind{Detail: "a file without tensors"}
	}
	return Kind{Detail: "a file whose first tensor is " + quote(f.names[0])}
}

// recogniseModel detects whole models, and UNets and transformers alone.
func recogniseModel(f tensorIndex) (Kind, bool) {
	for _, prefix := range []string{"model.diffusion_model.", "diffusion_model.", "model.", ""} {
		switch {
		case f.has(prefix + "joint_blocks."):
			return Kind{Form: Checkpoint, Family: SD3}, true
		case f.has(prefix + "double_blocks."):
			return Kind{Form: Checkpoint, Family: Flux}, true
		}
	}
	unet, ok := findUNet(f)
	if !ok {
		return Kind{}, false
	}
	family := unet.family()
	encoders, refiner := encodersOf(f, unet)
	whole := encoders || f.has("first_stage_model.") || f.has("vae.")
	switch {
	case family == StableDiffusion && (whole || f.has("cond_stage_model.")):
		return Kind{Form: Checkpoint, Family: StableDiffusion}, true
	case family == StableDiffusion:
		return Kind{Form: BareUNet, Family: StableDiffusion}, true
	case whole:
		return Kind{Form: Checkpoint, Family: sdxlFamily(f, unet, refiner), Detail: f.prediction()}, true
	case family == UnknownFamily && unet.Input < 8:
		return Kind{Form: BareUNet, Family: UnknownFamily, Detail: f.prediction()}, true
	}
	return Kind{Form: BareUNet, Family: sdxlFamily(f, unet, family == SDXLRefiner), Detail: f.prediction()}, true
}

// encodersOf reports whether a file holds SDXL's text encoders, and whether they, or its UNet alone, are a refiner's:
// that has the second one alone, in the first place.
func encodersOf(f tensorIndex, t UNetTraits) (encoders, refiner bool) {
	first, openCLIP := f.embedder(0)
	second, _ := f.embedder(1)
	switch {
	case second > 0:
		return true, false
	case first > 0:
		return true, openCLIP || first == t.Context
	}
	return false, t.family() == SDXLRefiner
}

// embedder is the width of a text encoder, 0 if there is none, and whether it has OpenCLIP's names.
func (f tensorIndex) embedder(n int) (width int, openCLIP bool) {
	prefix := fmt.Sprintf("conditioner.embedders.%d.", n)
	if w := f.dim(prefix+"model.token_embedding.weight", 1); w > 0 {
		return w, true
	}
	for _, model := range []string{"transformer.text_model.", "model.text_model.", "transformer.", "model."} {
		width = max(width, f.dim(prefix+model+"embeddings.token_embedding.weight", 1))
	}
	return width, false
}

// recogniseComponent detects parts of a model.
func recogniseComponent(f tensorIndex) (Kind, bool) {
	component := func(family Family, detail string) (Kind, bool) {
		return Kind{Form: ComponentForm, Family: family, Detail: detail}, true
	}
	switch {
	case f.has("decoder.conv_in."), f.has("first_stage_model.decoder.conv_in."), f.has("vae.decoder.conv_in."):
		return component(VAE, "")
	case f.has("encoder.layers.0.weight"), f.has("decoder.layers.0.weight"):
		return component(TAESD, "")
	case f.dim("0.weight", 1) == 3 && f.has("1.conv.0.weight"), f.dim("1.weight", 1) == 4 && f.has("3.conv.0.weight"):
		return component(TAESD, "original names")
	case f.upscaler():
		return component(ESRGAN, "")
	case f.has("token_embedding.weight") && f.has("transformer.resblocks."):
		return component(TextEncoderG, "OpenCLIP names")
	}
	if f.has("vision_model.embeddings.") && f.has("visual_projection.") && !f.has("text_model.") {
		name := map[[2]int]string{{1280, 1024}: "ViT-H/14", {1664, 1280}: "ViT-bigG/14", {1024, 768}: "ViT-L/14"}
		return component(ImageEncoder, name[[2]int{f.dim("vision_model.embeddings.position_embedding.weight", 1), f.dim("visual_projection.weight", 0)}])
	}
	for _, prefix := range []string{"text_model.", ""} {
		switch f.dim(prefix+"embeddings.token_embedding.weight", 1) {
		case 768:
			return component(TextEncoderL, "")
		case 1280:
			return component(TextEncoderG, "")
		}
	}
	return recogniseEmbedding(f)
}

// upscaler reports whether a file is one of ESRGAN's networks, perhaps in what training programs lay them in.
func (f tensorIndex) upscaler() bool {
	for _, wrapper := range []string{"", "params_ema.", "params.", "module."} {
		switch {
		case f.has(wrapper + "body.0.rdb1.conv1."), f.has(wrapper + "RRDB_trunk.0.RDB1.conv1."), f.has(wrapper + "model.1.sub.0.RDB1."):
			return true
		case f.dim(wrapper+"body.0.weight", 1) == 3 && len(f.shape(wrapper+"body.1.weight")) == 1 && len(f.shape(wrapper+"body.2.weight")) == 4:
			return true // SRVGGNetCompact
		}
	}
	return false
}

// recogniseEmbedding detects textual inversions: a few vectors and nothing else.
func recogniseEmbedding(f tensorIndex) (Kind, bool) {
	const most = 4
	if len(f.names) == 0 || len(f.names) > most {
		return Kind{}, false
	}
	k := Kind{Form: EmbeddingForm}
	for _, name := range f.names {
		switch {
		case name == "clip_g", name == "clip_l":
			k.Family = SDXLBase
		case name == "emb_params", strings.HasPrefix(name, "string_to_param"):
			if w := f.dim(name, 1); w == 768 || w == 1024 {
				k.Family = StableDiffusion
			}
		case strings.HasPrefix(name, "<") && len(f.shape(name)) <= 2: // diffusers names the tensor after the token
		default:
			return Kind{}, false
		}
	}
	return k, true
}
