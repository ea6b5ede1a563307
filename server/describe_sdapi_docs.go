package server

// What the fields of A1111's bodies mean here.
var sdImageDocs = []fieldDoc{
	{"prompt", "What the image shows, with A1111's weights and <lora:NAME:STRENGTH>."},
	{"negative_prompt", "What the image does not show; an empty one is none."},
	{"styles", "This server has no styles: any is refused."},
	{"seed", "The seed of the first image; each one has the next. -1 is random."},
	{"subseed", "The variation seed of the first image; each one has the next. -1 is random."},
	{"subseed_strength", "How much of the noise is that of subseed, 0 to 1."},
	{"seed_resize_from_h", "Noise of another size is answered 501."},
	{"seed_resize_from_w", "Noise of another size is answered 501."},
	{"sampler_name", "A1111's name of the sampler, a schedule type after it or not; sampler_index if absent."},
	{"scheduler", "A1111's name of the schedule type; the sampler's own if absent."},
	{"batch_size", "Images of an iteration."},
	{"n_iter", "Iterations."},
	{"steps", "Steps of the sampler."},
	{"cfg_scale", "How much the prompt counts."},
	{"width", "Pixels."},
	{"height", "Pixels."},
	{"restore_faces", "True is answered 501."},
	{"tiling", "True is answered 501."},
	{"eta", "The noise of DDIM. Ancestral samplers have 1."},
	{"denoising_strength", "How much of the image is made anew, of img2img and of the second pass of txt2img."},
	{"override_settings", "Options for this request alone, as POST /sdapi/v1/options takes them."},
	{"override_settings_restore_afterwards", "False keeps override_settings for the user's later requests."},
	{"refiner_checkpoint", "The refiner that goes on at refiner_switch_at; none if absent."},
	{"refiner_switch_at", "The fraction of the steps at which the refiner goes on; 0.8 if absent."},
	{"disable_extra_networks", "Leaves out the adapters that the prompt names."},
	{"firstpass_image", "An image in the place of the first pass is answered 501."},
	{"force_task_id", "The id by which POST /internal/progress knows the request."},
	{"sampler_index", "The sampler, if sampler_name is absent."},
	{"script_name", "This server has no scripts: any is refused."},
	{"send_images", "False leaves the images out of the answer."},
	{"save_images", "Keeps the images, and the jobs in GET /v1/jobs; else nothing is kept."},
	{"alwayson_scripts", "Units of ControlNet, T2I-Adapters and IP-Adapters as the extension sd-webui-controlnet takes them; other scripts are refused."},
	{"latent_mask", "A mask of the latents beside mask is answered 501."},
	{"initial_noise_multiplier", "1; another one is answered 501."},
	{"infotext", "Parameters of an image as A1111 writes them, for the fields that the request does not give."},
}

// sdHiresDocs are those of txt2img alone.
var sdHiresDocs = []fieldDoc{
	{"enable_hr", "Enlarges what the first pass gives, and makes it anew in that size by denoising_strength."},
	{"firstphase_width", "Pixels of the first pass, in place of width."},
	{"firstphase_height", "Pixels of the first pass, in place of height."},
	{"hr_scale", "How many times as large the image becomes, without hr_resize_x and hr_resize_y."},
	{"hr_resize_x", "Pixels across; 0 keeps the aspect of hr_resize_y. Of both, what is beyond the aspect is cut off."},
	{"hr_resize_y", "Pixels down; 0 keeps the aspect of hr_resize_x."},
	{"hr_upscaler", "A name of GET /sdapi/v1/latent-upscale-modes or of GET /sdapi/v1/upscalers; Latent if absent."},
	{"hr_second_pass_steps", "Steps that the second pass takes; 0 is steps."},
	{"hr_checkpoint_name", "The request's model; another one is answered 501."},
	{"hr_sampler_name", "The sampler of the second pass; that of the first if absent."},
	{"hr_scheduler", "The schedule type of the second pass; that of the first if absent."},
	{"hr_prompt", "The prompt of the second pass; that of the first if empty."},
	{"hr_negative_prompt", "The negative prompt of the second pass; that of the first if empty."},
}

// sdSourceDocs are those of img2img alone.
var sdSourceDocs = []fieldDoc{
	{"init_images", "The image to begin with, in base64, alone or in a data URL; or several, of which each image of an iteration begins with one, up to batch_size."},
	{"mask", "An image whose white is repainted, by its alpha if it has transparent pixels, in base64, alone or in a data URL. One of another size than the image's is resized."},
	{"mask_blur", "Standard deviation in pixels, in place of mask_blur_x and mask_blur_y."},
	{"mask_blur_x", "The blur across."},
	{"mask_blur_y", "The blur down."},
	{"mask_round", "False is answered 501: goxl mixes no latents by a grey mask."},
	{"inpainting_fill", "What the masked part begins with: 0 its surroundings blurred, 1 the image, 2 noise in the latents, 3 nothing in the latents."},
	{"inpaint_full_res", "Computes the part around the mask alone, at width and height, and puts it into the image."},
	{"inpaint_full_res_padding", "So many pixels more around the mask."},
	{"inpainting_mask_invert", "Repaints the mask's black."},
	{"resize_mode", "How the image comes to width and height: 0 is stretched, 1 cropped, 2 filled. 3, latent upscale, is answered 501."},
	{"include_init_images", "Whether the answer's parameters repeat init_images and mask."},
}

// sdExtrasDocs are the fields of extra-single-image and extra-batch-images.
var sdExtrasDocs = []fieldDoc{
	{"upscaler_1", "A name of GET /sdapi/v1/upscalers."},
	{"upscaler_2", "A second one, whose image is blended over the first one's."},
	{"extras_upscaler_2_visibility", "How much of upscaler_2 there is, 0 to 1."},
	{"resize_mode", "0 goes by upscaling_resize, 1 by upscaling_resize_w and upscaling_resize_h."},
	{"upscaling_resize", "How many times as large the image becomes."},
	{"upscaling_resize_w", "Pixels."},
	{"upscaling_resize_h", "Pixels."},
	{"upscaling_crop", "Crops what is beyond the size."},
	{"gfpgan_visibility", "Above 0 it is answered 501."},
	{"codeformer_visibility", "Above 0 it is answered 501."},
}

// sdOptionDocs are the options that act here.
var sdOptionDocs = []fieldDoc{
	{"sd_model_checkpoint", "The model, by its title or name in GET /sdapi/v1/sd-models. Absent, it is the default one."},
	{"sd_vae", "The model's own VAE in any case."},
	{"CLIP_stop_at_last_layers", "Clip skip, counted from the last layer. SDXL always skips one, so that 1 and 2 are the same."},
	{"samples_format", "The form of the images."},
	{"jpeg_quality", "Of JPEG and WebP."},
	{"live_previews_enable", "Whether GET /sdapi/v1/progress has previews."},
	{"show_progress_every_n_steps", "Steps between previews; -1 is at the end alone."},
	{"emphasis", "Whether weights of the prompt change the mean of the embeddings."},
	{"eta_ddim", "eta, where a request gives none."},
	{"sdxl_crop_top", "Micro-conditioning: the top of the crop."},
	{"sdxl_crop_left", "Micro-conditioning: the left of the crop."},
	{"sdxl_refiner_high_aesthetic_score", "aesthetic_score of the refiner."},
	{"sdxl_refiner_low_aesthetic_score", "aesthetic_score of the refiner's negative prompt."},
}
