package server

import (
	"maps"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/server/openapi"
)

var openAIOperations = []operation{
	{
		route: "POST /v1/images/generations", id: "createImage", tag: tagOpenAI, summary: "Text to image",
		body: &bodyForm{
			parse:   func(s *Server, x *exchange, f *fields) { _, _ = s.openAIRequest(x, f, generation) }, // what is wrong is of no interest
			probes:  []string{`{"task":"ensemble"}`, `{"task":"image-to-image"}`, `{"outpaint":[]}`, `{"outpaint":{}}`, `{"guidance_scale":[]}`, `{"output_format":"webp","output_compression":90}`},
			docs:    with(openAIBodyDocs, sizeDocs, without(fromDocs, "denoising_end"), without(inpaintDocs, "mask"), []fieldDoc{resizeDoc, hiresDoc, jobEndDoc}),
			example: `{"prompt":"a lighthouse at dusk, oil painting","size":"auto","response_format":"b64_json"}`,
		},
		answers: openAIAnswers("image_generation"),
		fails:   openAIFails,
	}, {
		route: "POST /v1/images/edits", id: "createImageEdit", tag: tagOpenAI, summary: "Image to image, and inpainting",
		about: "The image is made anew by strength, on the refiner if there is one; with a mask, what that says of it. Images are files of a form, or in a JSON body images or image, and mask.",
		body: &bodyForm{
			parse:  func(s *Server, x *exchange, f *fields) { _, _ = s.openAIRequest(x, f, edit) },
			probes: []string{`{"images":[{"file_id":""}]}`, `{"outpaint":[]}`, `{"outpaint":{}}`, `{"guidance_scale":[]}`, `{"output_format":"webp","output_compression":90}`},
			docs: with([]fieldDoc{
				{"images", "The image to begin with. One image."},
				{"image", "The image in place of images: its id, or base64, alone or in a data URL; or a list of one of these."},
				{"mask", "An image whose transparent pixels say what is edited: a file of a form, as images in a JSON body, or its id or a data URL. One of another size than the image's is resized, with a warning."},
				{"refiner", "Whether the refiner computes it. Absent, it does if there is one, but for a mask or outpaint."},
			}, without(openAIBodyDocs, "task", "image", "refiner", "mask"), sizeDocs, fromDocs, without(inpaintDocs, "mask"), []fieldDoc{resizeDoc}),
			example: `{"prompt":"a lighthouse at dusk, oil painting","image":"` + exampleID + `","strength":0.4}`,
		},
		answers: openAIAnswers("image_edit"),
		fails:   append(openAIFails, largeFails, imageFails, []kind{badMedia, noAlpha}),
		curl:    "-F image=@image.png -F prompt='a lighthouse at dusk, oil painting' -F strength=0.4",
	},
}

var openAIBodyDocs = with(without(jobDocs, "preview_every"), openAIDocs, imageDocs)

var openAIFails = [][]kind{bodyFails, jobFails, waitFails, {noModel, badMedia}}

// openAIAnswers are those of the two routes, whose events have types of their own.
func openAIAnswers(event string) []answerDoc {
	return []answerDoc{
		{status: 200, about: "The images.", of: typeOf[openAIImages](), headers: map[string]string{ignoredHeader: "Fields that have no effect."}},
		{status: 200, about: "With stream, previews and the image as they come.", media: "text/event-stream", events: map[string]reflect.Type{
			event + ".partial_image": typeOf[openAIEvent](), event + ".completed": typeOf[openAIEvent](), "error": typeOf[openAIErrorBody](),
		}},
	}
}

// formOf is the form in place of a JSON body that has an image: its fields, of which the image is a file.
func formOf(body *jsonschema.Schema) openapi.Media {
	form := body.CloneSchemas()
	form.Properties = maps.Clone(form.Properties)
	delete(form.Properties, "images")
	form.Properties["image"] = &jsonschema.Schema{Type: "string", Format: "binary", Description: "The file, or the id of an image that is here."}
	form.Properties["mask"] = &jsonschema.Schema{Type: "string", Format: "binary", Description: "The file, or the id of an image that is here. Its transparent pixels say what is edited."}
	form.Required = append(form.Required, "image")
	return openapi.Media{Schema: form}
}
