package server

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// sdOperations describes A1111's API.
func sdOperations() []operation {
	all := []operation{
		sdImageOperation(false), sdImageOperation(true),
		{
			route: "GET /sdapi/v1/progress", id: "sdProgress", tag: tagSDAPI, summary: "How far the request is that is computed",
			query:       func(f *fields) { f.sdSkipImage() },
			parameterOf: []fieldDoc{{"skip_current_image", "Leaves the preview out."}},
			answers:     []answerDoc{{status: 200, about: "The state.", of: typeOf[sdProgressView]()}},
			fails:       [][]kind{{invalid}},
		}, {
			route: "POST /sdapi/v1/interrupt", id: "sdInterrupt", tag: tagSDAPI, summary: "End the requests that are computed", curl: "-X POST",
			answers: []answerDoc{{status: 200, about: "They end.", of: typeOf[struct{}]()}},
		}, {
			route: "POST /sdapi/v1/skip", id: "sdSkip", tag: tagSDAPI, summary: "End the iterations that are computed", curl: "-X POST",
			answers: []answerDoc{{status: 200, about: "They end.", of: typeOf[*struct{}]()}},
		}, {
			route: "GET /sdapi/v1/options", id: "sdGetOptions", tag: tagSDAPI, summary: "The options of who asks",
			answers: []answerDoc{{status: 200, about: "Those that act here, and those that have one value.", of: typeOf[map[string]any]()}},
		}, {
			route: "POST /sdapi/v1/options", id: "sdSetOptions", tag: tagSDAPI, summary: "Set options",
			about: "They hold for this user's requests of this API until the server ends; null takes one back.",
			body: &bodyForm{
				parse: func(s *Server, _ *exchange, f *fields) { s.readEveryOption(f) }, docs: sdOptionDocs,
				example: `{"CLIP_stop_at_last_layers":2,"samples_format":"jpg"}`,
			},
			answers: []answerDoc{{status: 200, about: "They are set.", of: typeOf[*struct{}](), headers: map[string]string{ignoredHeader: "Options that have no effect."}}},
			fails:   [][]kind{bodyFails, {badValue}},
		}, {
			route: "POST /sdapi/v1/png-info", id: "sdPNGInfo", tag: tagSDAPI, summary: "What an image says of how it was made",
			body: &bodyForm{
				parse: func(_ *Server, _ *exchange, f *fields) { f.sdImage("image") }, docs: []fieldDoc{sdImageDoc},
				example: `{"image":"` + examplePNG + `"}`,
			},
			answers: []answerDoc{{status: 200, about: "Its texts.", of: typeOf[sdPNGInfoView]()}},
			fails:   [][]kind{bodyFails, largeFails},
		}, {
			route: "POST /sdapi/v1/extra-single-image", id: "sdExtraSingle", tag: tagSDAPI, summary: "Enlarge an image",
			body: &bodyForm{
				parse: func(s *Server, _ *exchange, f *fields) {
					_, _ = s.sdExtras(f) // what is wrong is of no interest
					f.sdImage("image")
				},
				probes:  sdExtrasProbes,
				docs:    with([]fieldDoc{sdImageDoc}, sdExtrasDocs),
				example: `{"image":"` + examplePNG + `","upscaler_1":"Lanczos","upscaling_resize":2}`,
			},
			answers: []answerDoc{{status: 200, about: "The image.", of: typeOf[sdExtraView]()}},
			fails:   [][]kind{bodyFails, largeFails, jobFails, {badValue, notImplemented, storeFull, cancelled}},
		}, {
			route: "POST /sdapi/v1/extra-batch-images", id: "sdExtraBatch", tag: tagSDAPI, summary: "Enlarge images",
			body: &bodyForm{
				parse: func(s *Server, _ *exchange, f *fields) {
					_, _ = s.sdExtras(f)
					f.sdFiles("imageList")
				},
				probes:  sdExtrasProbes,
				docs:    with([]fieldDoc{{"imageList", "The images with names, which say nothing here."}}, sdExtrasDocs),
				example: `{"imageList":[{"data":"` + examplePNG + `","name":"a.png"}],"upscaler_1":"Lanczos"}`,
			},
			answers: []answerDoc{{status: 200, about: "The images.", of: typeOf[sdExtrasView]()}},
			fails:   [][]kind{bodyFails, largeFails, jobFails, {badValue, notImplemented, storeFull, cancelled}},
		}, {
			route: "POST /sdapi/v1/interrogate", id: "sdInterrogate", tag: tagSDAPI, summary: "Not there: 501", fails: [][]kind{{notImplemented}},
		}, {
			route: "GET /internal/ping", id: "sdPing", tag: tagSDAPI, summary: "Whether the process lives",
			answers: []answerDoc{{status: 200, about: "It does.", of: typeOf[struct{}]()}},
		}, {
			route: "POST /internal/progress", id: "sdTaskProgress", tag: tagSDAPI, summary: "How far a request is, by its id",
			body: &bodyForm{
				parse: func(_ *Server, _ *exchange, f *fields) { f.sdTask() },
				docs: []fieldDoc{
					{"id_task", "force_task_id of the request."}, {"live_preview", "Whether the answer has a preview."},
					{"id_live_preview", "id_live_preview of the preview that the client has."},
				},
				example: `{"id_task":"task(1)","id_live_preview":-1}`,
			},
			answers: []answerDoc{{status: 200, about: "The state.", of: typeOf[sdTaskView]()}},
			fails:   [][]kind{bodyFails},
		}, {
			route: "GET /internal/pending-tasks", id: "sdPending", tag: tagSDAPI, summary: "The requests that wait",
			answers: []answerDoc{{status: 200, about: "Their ids.", of: typeOf[sdPendingView]()}},
		},
	}
	all = append(all, sdControlOperations()...)
	for _, list := range sdListDocs {
		all = append(all, operation{
			route: "GET /sdapi/v1/" + list.name, id: "sdGet" + camel(list.name), tag: tagSDAPI, summary: list.text,
			answers: []answerDoc{{status: 200, about: "The list.", of: list.of}},
		})
	}
	for _, name := range slices.Sorted(maps.Keys(sdNothingToDo)) {
		all = append(all, operation{
			route: "POST /sdapi/v1/" + name, id: "sd" + camel(name), tag: tagSDAPI, summary: "Changes nothing: " + sdNothingToDo[name], curl: "-X POST",
			answers: []answerDoc{{status: 200, about: "The reason.", of: typeOf[map[string]string]()}},
		})
	}
	return all
}

// sdImageOperation describes txt2img or img2img.
func sdImageOperation(img2img bool) operation {
	o := operation{
		route: "POST /sdapi/v1/txt2img", id: "sdTxt2img", tag: tagSDAPI, summary: "Text to image",
		body: &bodyForm{
			parse: func(s *Server, x *exchange, f *fields) {
				_, _ = s.sdRequest(x.r.Context(), nobody, f, img2img) // what is wrong is of no interest
			},
			docs:    with(sdImageDocs, sdHiresDocs),
			options: sdFields(img2img),
			example: `{"prompt":"a lighthouse at dusk, (oil painting:1.2)","steps":20,"width":512,"height":512,"sampler_name":"Euler"}`,
		},
		answers: []answerDoc{{status: 200, about: "The images.", of: typeOf[sdMadeView](), headers: map[string]string{ignoredHeader: "Fields of which nothing comes."}}},
		fails:   [][]kind{bodyFails, largeFails, jobFails, waitFails, {badValue, notImplemented, noScript}},
	}
	if img2img {
		o.route, o.id, o.summary = "POST /sdapi/v1/img2img", "sdImg2img", "Image to image"
		o.body.docs = with(sdImageDocs, sdSourceDocs)
		o.body.example = `{"init_images":["` + examplePNG + `"],"prompt":"a lighthouse at dusk","denoising_strength":0.6,"steps":20,"width":512,"height":512}`
		o.fails = append(o.fails, []kind{noInitImage})
	}
	return o
}

// camel is a name with dashes as an identifier.
func camel(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// nobody is the name of no user, whose options are those of A1111 without any that were set.
const nobody = "\x00"

// sdExtrasProbes have a second upscaler, whose share is read then.
var sdExtrasProbes = []string{`{"upscaler_2":"Lanczos"}`}

// readEveryOption reads the options that act here as if all were given.
func (s *Server) readEveryOption(f *fields) {
	for _, o := range sdOptions {
		_ = o.read(s, f, o.name, &sdSettings{}) // what is wrong is of no interest
	}
}

var sdImageDoc = fieldDoc{"image", "An image in base64, alone or in a data URL."}

// examplePNG is 8×8 grey pixels.
const examplePNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADklEQVR42mNogAIGyhgAgIQgARDoahcAAAAASUVORK5CYII="

// sdListDocs are the lists of what there is.
var sdListDocs = []struct {
	name, text string
	of         reflect.Type
}{
	{"samplers", "The samplers", typeOf[[]sdSampler]()},
	{"schedulers", "The schedule types", typeOf[[]sdScheduler]()},
	{"sd-models", "The models", typeOf[[]sdModelItem]()},
	{"loras", "The adapters", typeOf[[]sdLoRA]()},
	{"embeddings", "The embeddings", typeOf[map[string]map[string]sdEmbedding]()},
	{"upscalers", "The upscalers", typeOf[[]sdUpscaler]()},
	{"memory", "The memory of the process", typeOf[map[string]map[string]any]()},
	{"cmd-flags", "Flags of A1111's that clients look at", typeOf[map[string]bool]()},
	{"scripts", "Scripts", typeOf[map[string][]string]()},
	{"sd-vae", "VAEs to choose from: none", typeOf[[]string]()},
	{"sd-modules", "Modules to choose from: none", typeOf[[]string]()},
	{"latent-upscale-modes", "Latent upscalers", typeOf[[]sdLatentMode]()},
	{"prompt-styles", "Styles: none", typeOf[[]string]()},
	{"hypernetworks", "Hypernetworks: none", typeOf[[]string]()},
	{"face-restorers", "Restorers of faces: none", typeOf[[]string]()},
	{"realesrgan-models", "Real-ESRGAN models: none", typeOf[[]string]()},
	{"script-info", "What scripts take: none", typeOf[[]string]()},
	{"extensions", "Extensions: none", typeOf[[]string]()},
}
