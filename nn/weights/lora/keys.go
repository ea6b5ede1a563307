package lora

import (
	"cmp"
	"slices"
	"strings"
)

// part is what a tensor of an adapter file is to its module.
type part string

// The parts, by the names of LyCORIS and kohya, in which those of PEFT and diffusers are expressed.
const (
	down          part = "lora_down"
	up            part = "lora_up"
	mid           part = "lora_mid" // Tucker core
	upBias        part = "lora_up.bias"
	alpha         part = "alpha"
	scale         part = "scale" // stands for alpha/rank (A1111)
	doraScale     part = "dora_scale"
	magnitude     part = "lora_magnitude_vector" // DoRA of PEFT
	hadaW1A       part = "hada_w1_a"
	hadaW1B       part = "hada_w1_b"
	hadaW2A       part = "hada_w2_a"
	hadaW2B       part = "hada_w2_b"
	hadaT1        part = "hada_t1"
	hadaT2        part = "hada_t2"
	lokrW1        part = "lokr_w1"
	lokrW1A       part = "lokr_w1_a"
	lokrW1B       part = "lokr_w1_b"
	lokrW2        part = "lokr_w2"
	lokrW2A       part = "lokr_w2_a"
	lokrW2B       part = "lokr_w2_b"
	lokrT2        part = "lokr_t2"
	gloraA1       part = "a1.weight"
	gloraA2       part = "a2.weight"
	gloraB1       part = "b1.weight"
	gloraB2       part = "b2.weight"
	gloraBM       part = "bm.weight"
	oftBlocks     part = "oft_blocks"
	oftDiag       part = "oft_diag"
	rescale       part = "rescale"
	ia3Weight     part = "weight"
	ia3OnInput    part = "on_input"
	diff          part = "diff"
	diffBias      part = "diff_b"
	setWeight     part = "set_weight"
	normWeight    part = "w_norm"
	normBias      part = "b_norm"
	dense         part = "bias" // a difference in the shape of the weight, in spite of its name (A1111)
	sparseIndices part = "bias_indices"
	sparseValues  part = "bias_values"
	sparseSize    part = "bias_size"
)

// suffix is an ending of a key and the part that it stands for.
type suffix struct {
	text string
	part part
}

// suffixes are the endings of keys, the longest first.
var suffixes = func() []suffix {
	var all []suffix
	for _, p := range []part{alpha, scale, doraScale, hadaW1A, hadaW1B, hadaW2A, hadaW2B, hadaT1, hadaT2, lokrW1, lokrW1A,
		lokrW1B, lokrW2, lokrW2A, lokrW2B, lokrT2, gloraA1, gloraA2, gloraB1, gloraB2, gloraBM, oftBlocks, oftDiag, rescale,
		ia3Weight, ia3OnInput, diff, diffBias, setWeight, normWeight, normBias, dense, sparseIndices, sparseValues, sparseSize} {
		all = append(all, suffix{"." + string(p), p})
	}
	// The layers that diffusers trained before PEFT: attention processors, then linear layers with a LoRA of their own.
	for _, form := range []string{"_lora", ".lora", ".lora_linear_layer"} {
		all = append(all, suffix{form + ".down.weight", down}, suffix{form + ".up.weight", up}, suffix{form + ".alpha", alpha})
	}
	slices.SortFunc(all, func(a, b suffix) int {
		return cmp.Or(cmp.Compare(len(b.text), len(a.text)), cmp.Compare(a.text, b.text))
	})
	return all
}()

// layers are the names of layers within a module, which may be followed by an adapter's name and by the parameter's.
var layers = []struct {
	name         string
	weight, bias part
}{
	{".lora_magnitude_vector", magnitude, ""},
	{".lora_down", down, ""}, {".lora_up", up, upBias}, {".lora_mid", mid, ""},
	{".lora_A", down, ""}, {".lora_B", up, upBias},
}

// parseKey splits a key of an adapter file into the module's name, in the file's spelling, and the part. It reports
// false for a key that ends like no part.
func parseKey(key string) (stem string, p part, ok bool) {
	for _, l := range layers {
		i := strings.LastIndex(key, l.name)
		if i <= 0 {
			continue
		}
		p := l.weight
		rest := key[i+len(l.name):]
		switch head, isBias := strings.CutSuffix(rest, ".bias"); {
		case isBias:
			rest, p = head, l.bias
		default:
			rest = strings.TrimSuffix(rest, ".weight")
		}
		// What is left is an adapter's name: one word behind a dot.
		if p != "" && (rest == "" || rest[0] == '.' && len(rest) > 1 && !strings.Contains(rest[1:], ".")) {
			return key[:i], p, true
		}
	}
	for _, s := range suffixes {
		if stem, ok := strings.CutSuffix(key, s.text); ok && stem != "" {
			return stem, s.part, true
		}
	}
	return "", "", false
}
