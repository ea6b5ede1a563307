package server

import (
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/server/openapi"
)

// operation describes a route for the OpenAPI document. What it takes is what the parsers note, what it answers by the
// types that are encoded, and its errors by the table of answers.
type operation struct {
	route       string // as the mux has it
	id, tag     string
	summary     string
	about       string
	query       func(*fields) // reads the parameters of the query
	headers     []openapi.Parameter
	body        *bodyForm
	media       map[string]openapi.Media // of a body that is no JSON object, and beside body
	answers     []answerDoc
	fails       [][]kind
	curl        string // beside the URL; "" is made of the body's example
	parameterOf []fieldDoc
}

// answerDoc is an answer that is no error.
type answerDoc struct {
	status  int
	about   string
	of      reflect.Type // of its JSON; nil has none
	media   string       // of a body that is no JSON
	events  map[string]reflect.Type
	headers map[string]string
}

// typeOf is a type for an answerDoc.
func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// Groups of operations.
const (
	tagImages = "Images"
	tagJobs   = "Jobs"
	tagServer = "Server"
	tagOpenAI = "OpenAI"
	tagSDAPI  = "A1111"
	tagPage   = "Page"
)

var tags = []openapi.Tag{
	{Name: tagImages, Description: "An image in the answer to a request, which waits for it. A client that hangs up cancels its job."},
	{Name: tagJobs, Description: "Work that outlives its client and the process. A job is in the journal when it is answered."},
	{Name: tagServer, Description: "What the server has, who asks, and how it is."},
	{Name: tagOpenAI, Description: "OpenAI's images API. Bodies have the fields of POST /v1/jobs beside OpenAI's; what has no effect is named in the " +
		"header X-Goxl-Ignored and in warnings. What can't be used is 400."},
	{Name: tagSDAPI, Description: "A1111's API, with its fields, defaults, sampler names and prompt syntax. What goxl has not is 501 by the field's name; " +
		"fields of which nothing comes are named in the header X-Goxl-Ignored and in info."},
	{Name: tagPage, Description: "The web page, and this documentation."},
}

// Kinds of errors of routes that have them together.
var (
	anyFails   = []kind{foreignHost, crowded, internal}
	writeFails = []kind{foreignOrigin}
	tokenFails = []kind{noToken, wrongToken, tooManyFailures}
	bodyFails  = []kind{invalid, bodyTooLarge, bodyTooSlow, badBody}
	largeFails = []kind{largeBodies}
	jobFails   = []kind{queueFull, quotaExceeded, stopping, journalBroken, noRefiner, storeBroken}
	// waitFails are those of a request that waits for its image.
	waitFails = []kind{
		loading, modelFailed, deviceLost, deviceFailed, noWorker, otherModel, tooLong, tooLarge, tookTooLong, storeFull, cancelled,
	}
	imageFails = []kind{noImage}
	idFails    = []kind{noJob, expiredJob}
)

// fileMedia is a body that is a file.
func fileMedia(types ...string) map[string]openapi.Media {
	all := map[string]openapi.Media{}
	for _, t := range types {
		all[t] = openapi.Media{Schema: &jsonschema.Schema{Type: "string", Format: "binary"}}
	}
	return all
}

// operations describes every route.
func operations() []operation {
	var all []operation
	for _, some := range [][]operation{imageOperations, jobOperations, serverOperations, openAIOperations, sdOperations(), pageOperations} {
		all = append(all, some...)
	}
	return all
}

var imageOperations = []operation{
	{
		route: "POST /generate", id: "generate", tag: tagImages, summary: "Text to image, image to image, inpainting",
		about: "Answers when the image is on disk; GET /download/{id} returns it.",
		body: &bodyForm{
			parse:  func(s *Server, x *exchange, f *fields) { _, _ = s.generateJob(x, f, f.imageTask()) }, // what is wrong is of no interest
			probes: []string{`{"refiner":true}`, `{"guidance_scale":[]}`, `{"image":"","mask":""}`, `{"outpaint":[]}`},
			docs: with([]fieldDoc{imageDoc}, imageDocs, sizeDocs, without(fromDocs, "denoising_end"), inpaintDocs, []fieldDoc{resizeDoc, hiresDoc},
				[]fieldDoc{ensembleDoc, endDoc}),
			example: `{"prompt":"a lighthouse at dusk, oil painting","negative_prompt":"blurry","seed":42}`,
		},
		answers: []answerDoc{{status: 200, about: "The image's id, and every value with which it was computed.", of: typeOf[madeView]()}},
		fails:   [][]kind{bodyFails, jobFails, waitFails},
	}, {
		route: "POST /refine", id: "refine", tag: tagImages, summary: "Image to image",
		about: "Makes an image anew from one that is here, on the refiner unless refiner is false.",
		body: &bodyForm{
			parse:  func(s *Server, x *exchange, f *fields) { _, _, _ = s.refineJob(x, f) },
			probes: []string{`{"guidance_scale":[]}`, `{"mask":""}`, `{"outpaint":[]}`},
			docs: with([]fieldDoc{{"id", "The image to begin with, by the id that an answer or an upload gave."}}, imageDocs, fromDocs, inpaintDocs,
				[]fieldDoc{{"refiner", "False computes it on the base."}}),
			example: `{"id":"` + exampleID + `","prompt":"a lighthouse at dusk, oil painting","strength":0.3}`,
		},
		answers: []answerDoc{{status: 200, about: "The new image's id, and every value with which it was computed.", of: typeOf[madeView]()}},
		fails:   [][]kind{bodyFails, imageFails, jobFails, waitFails},
	}, {
		route: "GET /download/{id}", id: "download", tag: tagImages, summary: "An image",
		about: "The file, with what it was computed with in its texts. Ranges and conditions are those of RFC 9110.",
		answers: []answerDoc{
			{status: 200, about: "The file.", media: "image/png"}, {status: 200, media: "image/jpeg"}, {status: 200, media: "image/webp"},
			{status: 206, about: "The part of it that Range asks for.", media: "image/png"},
			{status: 304, about: "The client has it, by If-None-Match or If-Modified-Since."},
		},
		fails: [][]kind{imageFails, {badRange, badCondition, storeBroken}},
		curl:  "-OJ",
	}, {
		route: "GET /download/{id}/thumbnail", id: "thumbnail", tag: tagImages, summary: "A small form of an image",
		about:       "A JPEG, which browsers keep: an image never changes.",
		query:       func(f *fields) { f.thumbnailSize() },
		parameterOf: []fieldDoc{{"size", "Pixels of the longer side, at most as many as the image has."}},
		answers:     []answerDoc{{status: 200, about: "The file.", media: "image/jpeg"}, {status: 304, about: "The client has it, by If-None-Match."}},
		fails:       [][]kind{imageFails, {invalid, storeBroken}},
		curl:        "-o thumbnail.jpg",
	}, {
		route: "POST /v1/images", id: "uploadImage", tag: tagImages, summary: "Keep an image",
		about: "The body is a PNG, JPEG or WebP of at most 64 MiB, or a form with the file image. Its id is what image-to-image takes.",
		media: uploadMedia(),
		answers: []answerDoc{
			{status: 201, about: "The image is kept.", of: typeOf[imageView]()},
		},
		fails: [][]kind{bodyFails, largeFails, {badMedia, stopping, storeFull, storeBroken, journalBroken}},
		curl:  "-H 'Content-Type: image/png' --data-binary @image.png",
	}, {
		route: "POST /v1/preprocess", id: "preprocess", tag: tagImages, summary: "The control image of an image",
		about: "What a ControlNet gets of an image by a preprocessor at a size. It is computed on the CPU, and not kept.",
		body: &bodyForm{
			parse:   func(s *Server, x *exchange, f *fields) { _, _ = s.preprocessing(x, f) },
			docs:    preprocessDocs,
			example: `{"image":"` + exampleID + `","preprocessor":"canny","width":1024,"height":1024}`,
		},
		answers: []answerDoc{{status: 200, about: "The control image.", media: "image/png"}},
		fails:   [][]kind{bodyFails, largeFails, imageFails, {storeBroken}},
	},
}

// uploadMedia are the bodies of an upload.
func uploadMedia() map[string]openapi.Media {
	all := fileMedia("image/png", "image/jpeg", "image/webp")
	all["multipart/form-data"] = openapi.Media{Schema: &jsonschema.Schema{
		Type: "object", Required: []string{"image"},
		Properties: map[string]*jsonschema.Schema{"image": {Type: "string", Format: "binary", Description: "The file."}},
	}}
	return all
}

// exampleID is the id of an image or job in examples.
const exampleID = "0199c2f4-6b1e-7c3a-9d52-3f8a6e0b41d7"
