// Package lora reads LoRA files and their relatives, and merges them into the weights of a model.
//
// A file names the modules that it changes in one of many spellings: kohya's with the paths of the original code or of
// diffusers, PEFT's, LyCORIS's, older ones of diffusers, and mixtures. [Open] reads a file, and [File.Match] resolves
// its names against the tensors of a model ([Targets]). The result is an [Adapter]: for each tensor that changes, an
// ordered list of [Change]. A [Report] says how many modules were found and which were not.
//
//	file, err := lora.Open("style.safetensors")
//	...
//	defer file.Close()
//	adapter, report, err := file.Match(lora.Targets{"unet": shapes})
//	...
//	unet := lora.Merge(base, "unet", []lora.Selected{{Adapter: adapter, Strengths: lora.Strength(0.8)}})
//
// # Kinds
//
// LoRA, LoCon with and without a Tucker core, LoHa, LoKr, whole differences and replacements, norms, IA3, GLoRA (new
// and old), OFT (kohya, LyCORIS new and old), BOFT, DyLoRA, biases and sparse remainders; DoRA over each of the
// low-rank kinds, by output and by input; rsLoRA and patterns of alpha by PEFT's metadata.
//
// # Strength
//
// A change makes W' of a weight W; at strength s the weight becomes W + s·(W' − W), as in ComfyUI, A1111 and SD.Next.
// Several adapters act one after the other in their order, in float32 on a float32 copy of W, with one rounding at the
// end to the type that W has in its file. At strength 0 a change is dropped, so that the weight stays bit for bit.
//
// An adapter's factors alias its file: it is valid until [File.Close].
package lora
