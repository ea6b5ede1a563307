package server

// What the fields of goxl's own bodies mean, which OpenAI's have beside theirs.

// imageDocs are the fields of every image.
var imageDocs = with(ownDocs, guidanceDocs)

var ownDocs = []fieldDoc{
	{"prompt", "What the image shows."},
	{"prompt_2", "The prompt of the second text encoder; prompt if absent."},
	{"negative_prompt", "What the image does not show. Absent, it is zeros where the model says so, which an empty one is not."},
	{"negative_prompt_2", "The negative prompt of the second text encoder; negative_prompt if absent."},
	{"prompt_style", "How the prompts are read: as diffusers does, in chunks of 75 tokens, or by the weights of A1111, ComfyUI or Compel. " +
		"Absent, it is the server's."},
	{"emphasis", "With A1111's prompts, whether weights change the mean of the embeddings; original if absent."},
	{"model", "A name of GET /v1/models. Absent, it is the default one."},
	{"seed", "The noise that the image begins with; -1 or absent is random, and the answer has it."},
	{"subseed", "A1111's variation seed: the noise that subseed_strength mixes in; -1 or absent is random."},
	{"subseed_strength", "How much of the noise is subseed's, 0 to 1."},
	{"num_inference_steps", "Steps of the scheduler. Absent, they are the model's own; a size may allow fewer."},
	{"guidance_scale", "How much the prompt counts, or a list of that for each step. Absent, it is the model's own."},
	{"guidance_rescale", "Rescales the guided noise, against images that are too bright."},
	{"scheduler", "A sampler by diffusers' name, a schedule type after it or not, as euler_karras, or by A1111's or ComfyUI's name. " +
		"Absent, it is the model's own."},
	{"preset", "How a few-step model is run; none is as any other. Absent, it is chosen by the model's files."},
	{"timesteps", "The timesteps in place of num_inference_steps, descending."},
	{"sigmas", "The noise levels in place of num_inference_steps, descending."},
	{"eta", "The noise of the sampler ddim."},
	{"clip_skip", "Layers of the text encoders that are left out, beyond those that SDXL always leaves out."},
	{"interrupt", "The number of steps after which the image is decoded as it is."},
	{"loras", "Adapters of the server's folder, applied in order, for this request alone. Prompts may name them too, as <lora:NAME:0.8>."},
	{"original_size", "Micro-conditioning: [height, width] that the model takes the image to have had."},
	{"target_size", "Micro-conditioning: [height, width] that the model aims at."},
	{"crops_coords_top_left", "Micro-conditioning: [top, left] of the crop."},
	{"negative_original_size", "original_size of the negative prompt."},
	{"negative_target_size", "target_size of the negative prompt."},
	{"negative_crops_coords_top_left", "crops_coords_top_left of the negative prompt."},
	{"aesthetic_score", "Of a refiner: how beautiful the image is to be, mostly 1 to 10; 6 if absent."},
	{"negative_aesthetic_score", "aesthetic_score of the negative prompt; 2.5 if absent."},
	{"controls", "ControlNets, each with its control image."},
	{"t2i_adapters", "T2I-Adapters, each with the image that it steers by."},
	{"ip_adapters", "IP-Adapters, each with images that are read beside the prompt."},
}

// Fields that depend on the task.
var (
	sizeDocs = []fieldDoc{
		{"width", "Pixels. Absent, it is the model's own, or the image's, which is resized to others. The limit of width × height is in GET /v1/options."},
		{"height", "Pixels. Absent, it is the model's own, or the image's."},
	}
	imageDoc    = fieldDoc{"image", "The image to begin with: the id of one that is here, or a PNG, JPEG or WebP in base64, alone or in a data URL."}
	resizeDoc   = fieldDoc{"resize", "How the image gets width and height: as it comes, cut to the aspect ratio, or with its outermost lines repeated; stretch if absent."}
	ensembleDoc = fieldDoc{"refiner", "The refiner goes on at denoising_end, as an ensemble of experts."}
	endDoc      = fieldDoc{"denoising_end", "The fraction of the steps at which the base ends; 0.8 if absent with a refiner, else 1."}
	fromDocs    = []fieldDoc{
		{"strength", "How much of the image is made anew, 1 is all of it. Absent, it is the model's own, mostly 0.3, or 0.9999 of inpainting."},
		{"denoising_start", "The fraction of the steps at which the image comes in, in place of strength."},
		{"denoising_end", "The fraction of the steps at which the run ends."},
	}
)

// jobDocs are the fields of POST /v1/jobs beside those.
var jobDocs = []fieldDoc{
	{"task", "Absent, it is inpaint with a mask or outpaint, image-to-image with an image, ensemble with refiner, or else text-to-image."},
	imageDoc,
	{"refiner", "Of an image, whether the refiner computes it; absent, it does if there is one, but for inpainting, and beside controls, t2i_adapters and ip_adapters. Else as an ensemble."},
	{"n", "Images of the batch, from one generator."},
	{"priority", "Jobs of a higher one go first."},
	{"preview_every", "Steps between previews, which the events have; 0 is none."},
	{"output_format", "The form of the files; png if absent."},
	{"output_quality", "Of JPEG and WebP; 90 if absent."},
}

// openAIDocs are the fields of OpenAI's bodies that are OpenAI's.
var openAIDocs = []fieldDoc{
	{"n", "Images, each with the next seed; 1 if absent. A stream has one."},
	{"size", `WIDTHxHEIGHT, or auto: the model's own. An edit keeps the size of its image.`},
	{"response_format", "Whether the answer has URLs or the images themselves; url if absent."},
	{"output_compression", "Quality of JPEG and WebP in percent; 90 if absent."},
	{"stream", "The answer is a stream of events."},
	{"partial_images", "Previews in the stream."},
	{"mask", "Must be absent: /v1/images/edits takes a mask."},
	{"quality", "Has no effect."},
	{"background", "Has no effect: images are opaque."},
	{"moderation", "Has no effect."},
	{"style", "Has no effect."},
	{"user", "Has no effect."},
	{"input_fidelity", "Has no effect: strength is what says it."},
}

// fieldExamples are values of fields that are more than a word or a number. ID is that of an image.
var fieldExamples = map[string]string{
	"outpaint":     `{"left":0,"top":128,"right":0,"bottom":0}`,
	"controls":     `[{"model":"controlnet-canny","image":"ID","preprocessor":"canny","scale":0.8,"end":0.9}]`,
	"t2i_adapters": `[{"model":"t2i-adapter-sketch","image":"ID","scale":0.9}]`,
	"ip_adapters":  `[{"model":"ip-adapter-plus_sdxl_vit-h","image":"ID","scale":0.6}]`,
	"hires":        `{"scale":1.5,"strength":0.5,"upscaler":"lanczos"}`,
	"scales":       `{"up":{"block_0":[0,1,0]}}`,
	"freeu":        `{"s1":0.9,"s2":0.2,"b1":1.3,"b2":1.4}`,
}

// with is a list of descriptions in which later ones of a name count.
func with(lists ...[]fieldDoc) (all []fieldDoc) {
	at := map[string]int{}
	for _, list := range lists {
		for _, doc := range list {
			if i, there := at[doc.name]; there {
				all[i].text = doc.text
				continue
			}
			at[doc.name] = len(all)
			all = append(all, doc)
		}
	}
	return all
}

// without is a list but for some names.
func without(list []fieldDoc, names ...string) (rest []fieldDoc) {
	for _, doc := range list {
		drop := false
		for _, name := range names {
			drop = drop || doc.name == name
		}
		if !drop {
			rest = append(rest, doc)
		}
	}
	return rest
}
