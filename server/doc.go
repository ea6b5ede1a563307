// Package server answers HTTP requests with images: POST /generate computes one from text and returns its id once the
// PNG is on disk, GET /download/{id} returns it, POST /refine makes a new one from it by image-to-image. GET
// /download/{id}/thumbnail?size=256 is a JPEG of it, size pixels at its longer side, 16 to 1024. GET /healthz says that
// the process lives, GET /readyz that it would take work.
//
// Work travels as jobs, through a journal on the disk and a queue (package job) to the devices (package worker). The
// two routes above wait for theirs, and cancel it when their client hangs up. Others come and go:
//
//   - POST /v1/jobs answers 202 with the job, which is in the journal by then and outlives the process. Its body has
//     the fields below, and task, text-to-image, image-to-image or ensemble (absent, as image and refiner say); image,
//     the id of an image, or an image in base64, alone or in a data URL; n, images of the batch; priority, -100 to 100;
//     preview_every, steps between previews; output_format, png, jpeg or webp; output_quality, 1 to 100. With a header
//     Idempotency-Key that came before, the answer is 200 with the job of that time, or 422 if the body was another.
//   - GET /v1/jobs/{id} is the job: its state (queued, running, interrupted, done, failed, cancelled), position, steps,
//     time left, parameters, images, error. GET /v1/jobs lists them, the newest first: state, model, limit, before.
//   - GET /v1/jobs/{id}/events streams them as server-sent events: state, loading, step, preview, warning, and at the
//     end done, failed or cancelled with the whole job. Last-Event-ID, or after, goes on where a client was.
//   - POST /v1/jobs/{id}/interrupt ends a job that is computed after the step that is under way, with the image so far:
//     202, an event stopping, and then the job is done as any other, whose parameters have interrupted, {"steps_done",
//     "steps"}, if steps were left. 409 is of a job that waits, 200 of one that had ended.
//   - DELETE /v1/jobs/{id} cancels in any state, with purge=true it removes a job that has ended, and the images that
//     it made or that came with its request, but those that other jobs have; uploads stay. POST /v1/jobs/cancel cancels
//     many: ids, or all.
//   - GET /metrics, with Config.Metrics, is what Prometheus reads: jobs, queue, stages, steps, devices, HTTP.
//   - POST /v1/images keeps an image, PNG, JPEG or WebP, as the body or as field image of a form. GET /v1/queue says
//     how many jobs wait and are computed.
//   - GET /v1/models lists the models, and the refiners, with state unloaded, loading with its percent, or ready, of
//     all devices and of each.
//
// With Config.Models there are several models, which engines open when a job names them. A job goes to a device that
// has its model and adapters from the job before, unless another device is idle. Events of the job tell how many
// percent of the weights were read. Requests that wait for their image wait a minute for that, then 503 with the
// percent; the loading goes on. A model that can't be loaded fails its own jobs with the reason, 503, and is tried
// again after a pause.
//
// With Config.Remote, devices of other processes compute jobs too (package job/remote). Without any device, requests
// that wait for their image are 503; other jobs wait for one, or are refused where there are workers and none has their
// model. Limits that Config does not name are measured on the devices of this process alone. GET /v1/models has those
// of the workers too. GET /v1/jobs/{id} and /download/{id} answer with what other servers with the same workers have.
//
// OpenAI's clients (https://platform.openai.com/docs/api-reference/images) make images by POST /v1/images/generations
// and /v1/images/edits, whose bodies have OpenAI's fields and those of POST /v1/jobs beside: model, a name of GET
// /v1/models or none; n, up to 10, each with the next seed; size, auto or WIDTHxHEIGHT; response_format, url (absent)
// or b64_json; output_format; output_compression, 0 to 100 (absent is 90); stream, with partial_images. An edit is
// image-to-image of one image, a file image of a form or images, [{"image_url": a data URL}] or [{"file_id": the id of
// an image}], with strength (absent is the model's own, mostly 0.3), on the refiner if there is one; the image keeps
// its size. A mask, given likewise, says by its transparent pixels what is edited, on the base; elsewhere white does.
// What has no effect is named in the header X-Goxl-Ignored and in warnings. Errors are OpenAI's too: {"error":
// {message, type, param, code}}, and 400 in place of 422.
//
// GET / is a web page for all of that (package page), and GET /v1/options what the fields of a body may be, what they
// are without a value, of each model and its refiner, and the limits.
//
// GET /openapi.json describes every route in OpenAPI 3.1, and GET /docs shows that as a page. Neither needs a token,
// nor tells what is installed. Both are made of what parses the bodies, which notes the fields that it reads with their
// types, ranges and defaults, of the types that are encoded as answers, and of the table of errors. A framework (huma)
// would parse the bodies itself, and answer what can't be used in another form than FastAPI's.
//
// Jobs that have ended, and images, are kept as Config.Keep and KeepBytes say; an id that has expired is 410.
//
// /sdapi/v1 is A1111's API, for the clients of that: txt2img, img2img, progress, interrupt, skip, options, samplers,
// schedulers, sd-models, loras, png-info, extra-single-image and the lists around them, with A1111's fields, defaults,
// sampler names and prompt syntax. Its requests are jobs whose client waits. Image i of a request has seed + i, or
// with a subseed_strength seed and subseed + i, and is the one that a request for that alone gives; the noise is
// torch's of a CPU. denoising_strength counts steps as diffusers does, of which A1111 runs one more;
// CLIP_stop_at_last_layers counts from the last layer, of which SDXL always skips one. Without save_images, nothing of
// a request is kept once it is answered. interrupt and skip end what is computed after the step that is under way,
// with the image so far: that without noise that the UNet predicts there, with guidance (A1111's is without). The
// images' infotext says after how many steps. Options are those of each user, until the server ends. /controlnet is the
// API of A1111's extension sd-webui-controlnet, whose units alwayson_scripts.controlnet has: ControlNets, T2I-Adapters
// and IP-Adapters of Config.ControlDir and IPAdapterDir. What goxl has not (tiling, restore_faces) is 501 by the
// field's name; an unknown sampler or model is 400, and an upscaler, a unit's model or module 422, with those that
// there are. What nothing comes of is named in the header X-Goxl-Ignored and in info.
//
// With Config.Tracer, requests and jobs are spans, those of clients that send W3C's traceparent below theirs: a request
// has its job, a job its waits in the queue and its attempts, an attempt its steps as events and the encoding of its
// images. A job's record names its span's parent, so that another process goes on below the same one.
//
// The fields of a body are those of [github.com/goxl/goxl/models/sdxl.Request] by diffusers' names:
//
//   - model, a name of Config.Models (absent is Config.Name), or with an image of a refiner; another is 422 with the
//     list
//   - prompt, prompt_2, negative_prompt, negative_prompt_2, which may name Config.TextualInversions; prompt_style,
//     plain, long, a1111, comfy or compel (absent is Config.PromptStyle), and with a1111 emphasis, original (absent) or
//     nonorm
//   - seed (absent or -1 is random); subseed and subseed_strength, 0 to 1, A1111's variation seed; scheduler, a name
//     of Config.Schedulers, a schedule type after it or not, or A1111's or ComfyUI's name of one; preset, of few-step
//     models, none without one (absent is Config.Preset)
//   - num_inference_steps, or timesteps or sigmas, lists; guidance_scale, a number or a list of one for each step;
//     guidance_rescale, eta, clip_skip; guidance_start and guidance_end, fractions of the steps; pag_scale,
//     pag_adaptive_scale and pag_applied_layers; freeu, {s1, s2, b1, b2}; interrupt, the steps after which the image is
//     decoded as it is
//   - original_size, target_size, negative_original_size, negative_target_size, [height, width];
//     crops_coords_top_left, negative_crops_coords_top_left, [top, left]; aesthetic_score, negative_aesthetic_score
//   - loras, a list of adapters in Config.LoRADir, applied in order: "NAME", "NAME:0.8" or {"name": NAME, "strength":
//     0.8}; prompts name them too, as in <lora:NAME:0.8>. They change the weights for this request only, and the model
//     stays loaded; one that can't be used is answered 422
//   - of /generate: width, height; refiner, true for an ensemble in which the refiner goes on at denoising_end (0.8);
//     without it, denoising_end is where the base ends; image, for image-to-image on the base, with strength or
//     denoising_start, and resize, how the image gets width and height; hires, a second pass in a larger size
//   - of /refine: id, of the image; strength, or denoising_start; denoising_end; refiner, false for image-to-image on
//     the base
//   - with an image: mask, of which white is repainted, or outpaint, pixels on each side; soft_mask, mask_blur,
//     mask_invert, inpaint_fill, mask_padding, keep_unmasked
//   - controls, a list of {model, image, scale, start, end, mode, preprocessor, resize, guess_mode}, with control as
//     another name; t2i_adapters, of {model, image, scale, resize}; ip_adapters, of {model, encoder, image or images,
//     scale or scales, mask}. A model is a name in Config.ControlDir or IPAdapterDir: its path there, with or without
//     the extension, or the last part of that. POST /v1/preprocess answers with the control image that a ControlNet
//     gets
//   - of the task upscale of POST /v1/jobs, which enlarges an image without diffusion: image; upscaler, lanczos,
//     nearest or a name in Config.UpscalerDir; scale, or width and height with resize, crop without one (absent is the
//     model's own scale, or 2); tile. The result has at most 16 times the pixels of an image that is generated, and
//     8192 a side
//
// An image is the id of one that is here for who asks, or a PNG, JPEG or WebP in base64, alone or in a data URL. What
// came in a body is kept as long as its job. A request has 64 images at most.
//
// An answer has the id, warnings if there are any, a prompt that was cut for instance, and parameters: every value with
// which the image was computed, as the PNG's texts have them. A request is resolved by the models' configurations, and
// refused if it can't be done, before it waits for a device.
//
// Bodies, defaults and errors are what a FastAPI service around diffusers would have: unknown fields are ignored (POST
// /v1/jobs names them, and those without an effect on its task, in warnings), numbers may be strings of digits, and
// what can't be used is answered by 422 with a list of {type, loc, msg, input}.
//
// Each device computes one job at a time; the others wait in a queue of fixed length, by priority and in order, for
// whichever device is free. A device is free as soon as an image is computed: the PNG is encoded, synced and answered
// beside the next one, for two images of a device at most. The log has the durations of wait, compute and encode apart.
// A client that hangs up frees its slot. When the server ends, jobs that are computed have Config.Drain to be done, and
// requests that wait for their image too; jobs that wait are computed by the next server with the same journal, and so
// are those that were cut off or whose process was killed, in at most three attempts.
//
// Clients that stand still cost nobody else anything. A header has 10 s to arrive and a connection 2 minutes between
// requests; a body and an answer have a time for each 16 KiB ([Config].BodyTimeout, SendTimeout). A client that leaves
// is noticed whatever it sent before, of which the server takes 128 KiB before its answer. The number of connections is
// limited ([Config].Connections): where there would be more, the one that waits longest for its client to send a
// request is closed for the new one, and never one for which an image is computed or sent. When these are seven eighths
// of all, requests for more of them are answered 503. A request with two lengths, Content-Length and Transfer-Encoding,
// is answered by the second, and its connection closed. A body has 64 KiB at most; one with an image has 64 MiB, or 90
// with images in base64, and eight that are larger than 1 MiB are in memory at once: another one is answered 503. A
// client that takes nothing of its events is dropped; a connection with events may be closed for a new one, and its
// client connects again.
//
// What one request may ask for is limited, by Config or by the speed of the devices, a second pass and a border around
// an image included: what is above is 422, and what computes for too long 504.
//
// The folder of images is used through an os.Root, and only regular files in it are images. An image's file is opened,
// and has its room on disk, before the image is computed: a full disk is 507, and a folder that can't be used 503, at
// once. /readyz asks the same. A folder that was removed is made again. Where the journal's file was removed, jobs and
// /readyz are 503: what is accepted would be lost.
//
// With Config.Tokens, requests need a token, as Authorization: Bearer TOKEN, or by Basic with the user's name and the
// token as the password; /healthz and /readyz need none. Others are 401, and an address that comes with wrong tokens
// too often is 429. POST /v1/session with a token gives a browser a cookie for a week, for what it sends without a
// header; GET says who asks, with what is left of the user's limits, and DELETE ends the session. Jobs belong to the
// user who submits them, and images to who uploads them, or to their job: those of others are 404, but for the role
// admin. Beyond a user's images of a day, or jobs at once, jobs are 429 with Retry-After and RateLimit-Limit,
// -Remaining and -Reset; above its highest priority they are 422. Images of a day are counted in the journal, when a
// job is accepted; one that fails or is cancelled gives them back.
//
// Web pages of other origins can read no answers, but for Config.CORS, and change nothing: a request with a cookie, or
// Basic, or without a token where none is needed, is 403 if its Sec-Fetch-Site or Origin is another's. Config.BasePath
// moves all routes below a path. What X-Forwarded-For, -Proto, -Host and -Prefix say, or Forwarded, counts from
// Config.TrustedProxies alone. With Config.TLSCert connections are HTTPS, of HTTP/1.1: HTTP/2 is off, since connections
// are paced and counted one request at a time.
//
// On a loopback address, requests by another host's name are 403. The log has no text that a client wrote in a body,
// unless it is of level debug.
//
// A device that fails costs the job that it computed an attempt: the job goes before the others, to whichever device is
// free, and fails after three. The engine is closed and another one is opened; the jobs that wait are served by it
// then, or by the other devices. Meanwhile /readyz names it, and is 503 if no device is left. A job that is too
// large for the memory of one device goes to the others.
package server
