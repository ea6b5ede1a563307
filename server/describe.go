package server

import (
	"cmp"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/auth"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/server/openapi"
	"github.com/goxl/goxl/tokenizer/prompt"
	"github.com/goxl/goxl/worker"
)

// schemaTypes are the types of answers: those that have names in the document, and the forms of what reflection can't
// tell.
var schemaTypes = openapi.Types{
	Names: map[string]reflect.Type{
		"Made": typeOf[madeView](), "Parameters": typeOf[sdxl.Parameters](), "Image": typeOf[imageView](),
		"Job": typeOf[jobView](), "JobPage": typeOf[jobPage](), "Cancelled": typeOf[cancelView](), "Queue": typeOf[queueView](),
		"StateEvent": typeOf[stateEvent](), "LoadingEvent": typeOf[loadingEvent](), "StepEvent": typeOf[stepEvent](),
		"PreviewEvent": typeOf[previewEvent](), "WarningEvent": typeOf[warningEvent](), "StoppingEvent": typeOf[stoppingEvent](),
		"Model": typeOf[modelView](), "ModelPage": typeOf[modelPage](), "Options": typeOf[optionsView](), "ModelOptions": typeOf[modelOptions](), "Session": typeOf[sessionView](),
		"Health": typeOf[healthView](), "Problem": typeOf[problem](),
		"OpenAIImages": typeOf[openAIImages](), "OpenAIEvent": typeOf[openAIEvent](), "OpenAIError": typeOf[openAIErrorBody](),
		"A1111Images": typeOf[sdMadeView](), "A1111Progress": typeOf[sdProgressView](), "A1111Task": typeOf[sdTaskView](),
		"Input": typeOf[inputView](), "JobError": typeOf[errorView](), "Quota": typeOf[quotaView](), "Limits": typeOf[limitOptions](),
		"ModelState": typeOf[modelState](), "Prompt": typeOf[sdxl.Prompt](), "LoRA": typeOf[sdxl.LoRAParameters](), "Expert": typeOf[sdxl.ExpertParameters](),
		"A1111Extra": typeOf[sdExtraView](), "A1111Extras": typeOf[sdExtrasView](), "A1111Sampler": typeOf[sdSampler](),
		"A1111Scheduler": typeOf[sdScheduler](), "A1111Model": typeOf[sdModelItem](), "A1111LoRA": typeOf[sdLoRA](), "A1111Upscaler": typeOf[sdUpscaler](),
		"A1111Embedding": typeOf[sdEmbedding](), "A1111State": typeOf[sdProgressState](), "OpenAIImage": typeOf[openAIImage](),
		"OpenAIUsage": typeOf[openAIUsage](), "OpenAIFault": typeOf[openAIFault](), "A1111Tasks": typeOf[sdPendingView](), "A1111PNGInfo": typeOf[sdPNGInfoView](), "A1111Fault": typeOf[sdFault](),
	},
	Forms: map[reflect.Type]*jsonschema.Schema{
		typeOf[sdxl.Size]():           {Type: "array", Items: &jsonschema.Schema{Type: "integer"}, MinItems: new(2), MaxItems: new(2)},
		typeOf[sdxl.Border]():         {Type: "array", Items: &jsonschema.Schema{Type: "integer"}, MinItems: new(4), MaxItems: new(4)},
		typeOf[job.State]():           {Type: "string", Enum: values(states)},
		typeOf[sdxl.Task]():           {Type: "string", Enum: values([]sdxl.Task{sdxl.TextToImage, sdxl.ImageToImage, sdxl.Inpaint, sdxl.Upscale})},
		typeOf[prompt.Style]():        {Type: "string", Enum: values(prompt.Styles())},
		typeOf[sdxl.Emphasis]():       {Type: "string", Enum: values(sdxl.Emphases())},
		typeOf[auth.Role]():           {Type: "string", Enum: values([]auth.Role{auth.Use, auth.Admin})},
		typeOf[worker.State]():        {Type: "string", Enum: values([]worker.State{worker.Loading, worker.Ready, worker.Lost})},
		typeOf[engine.ModelState]():   {Type: "string", Enum: values([]engine.ModelState{engine.Unloaded, engine.Loading, engine.Ready})},
		typeOf[sdAliases]():           {Types: []string{"array", "null"}, Items: &jsonschema.Schema{Type: "string"}},
		typeOf[json.RawMessage]():     {},
		typeOf[map[string]any]():      {Type: "object"},
		typeOf[map[string][]string](): {Type: "object", AdditionalProperties: &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "string"}}},
	},
}

// document describes the server, whose paths begin with prefix. What is strange is what a test has to find: fields
// without a description, and descriptions of no field.
func (s *Server) document(prefix string) (d *openapi.Document, strange []string, err error) {
	d = &openapi.Document{
		OpenAPI: openapi.Version,
		Info: openapi.Info{
			Title: "goxl", Summary: "Stable Diffusion XL", Description: aboutServer, Version: cmp.Or(s.config.Version, "unknown"),
			License: openapi.License{Name: "Apache 2.0", Identifier: "Apache-2.0"},
		},
		Servers: []openapi.Server{{URL: cmp.Or(prefix, "/")}},
		Tags:    tags,
		Paths:   map[string]map[string]*openapi.Operation{},
		Components: openapi.Components{SecuritySchemes: map[string]openapi.SecurityScheme{
			"bearer":  {Type: "http", Scheme: "bearer", Description: "A token."},
			"basic":   {Type: "http", Scheme: "basic", Description: "The user's name, and the token as the password."},
			"session": {Type: "apiKey", In: "cookie", Name: sessionCookie, Description: "What POST /v1/session gives a browser."},
		}},
	}
	if s.tokens != nil {
		d.Security = []openapi.Requirement{{"bearer": {}}, {"basic": {}}, {"session": {}}}
	}
	if d.Components.Schemas, err = schemaTypes.Components(); err != nil {
		return nil, nil, err
	}
	named := d.Components.Schemas
	named["Job"].Properties["parameters"] = openapi.Ref("Parameters") // which the journal has in JSON
	named["Fault"] = detailSchema(&jsonschema.Schema{Type: "string"})
	named["Invalid"] = detailSchema(&jsonschema.Schema{Type: "array", Items: openapi.Ref("Problem")})
	named["Error"] = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{openapi.Ref("Fault"), openapi.Ref("Invalid")}}
	named["A1111Error"] = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{openapi.Ref("A1111Fault"), openapi.Ref("Invalid")}}
	for _, doc := range imageDocs { // the parameters of an image have the names of the fields
		if p := named["Parameters"].Properties[doc.name]; p != nil && p.Description == "" {
			p.Description, _, _ = strings.Cut(doc.text, " Absent,")
		}
	}
	for i, o := range operations() {
		method, path := o.path()
		op, odd, err := s.describe(&o, method, path)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range odd {
			strange = append(strange, o.route+": "+name)
		}
		if d.Paths[path] == nil {
			d.Paths[path] = map[string]*openapi.Operation{}
		}
		op.Position = i
		d.Paths[path][method] = op
	}
	return d, strange, nil
}

const aboutServer = "Bodies are JSON. Unknown fields are ignored, null is as if a field were absent, and numbers and booleans may be " +
	"strings of them. Where tokens are needed, they come as Bearer, or by Basic with the user's name, and a browser has a session's cookie."

// detailSchema is an error in FastAPI's form.
func detailSchema(of *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", Required: []string{"detail"}, Properties: map[string]*jsonschema.Schema{"detail": of}}
}

// path is the method and path of a route as OpenAPI has them.
func (o *operation) path() (method, path string) {
	method, path, _ = strings.Cut(o.route, " ")
	return strings.ToLower(method), strings.NewReplacer("{$}", "", "...}", "}").Replace(path)
}

// describe is an operation of the document.
func (s *Server) describe(o *operation, method, path string) (op *openapi.Operation, strange []string, err error) {
	op = &openapi.Operation{ID: o.id, Tags: []string{o.tag}, Summary: o.summary, Description: o.about, Curl: o.curl, Responses: map[string]*openapi.Response{}}
	if need := accesses[o.route]; need == byAnyone && s.tokens != nil {
		op.Security = []openapi.Requirement{}
	}
	for rest := path; ; {
		_, after, found := strings.Cut(rest, "{")
		if !found {
			break
		}
		name, after, _ := strings.Cut(after, "}")
		rest = after
		p := openapi.Parameter{Name: name, In: "path", Required: true, Schema: &jsonschema.Schema{Type: "string"}}
		if name == "id" && o.tag != tagServer {
			p.Schema.Format, p.Example = "uuid", exampleID
		}
		op.Parameters = append(op.Parameters, p)
	}
	if o.query != nil {
		params, odd := describeQuery(o)
		op.Parameters, strange = append(op.Parameters, params...), odd
	}
	for _, h := range o.headers {
		h.In, h.Schema = "header", &jsonschema.Schema{Type: "string"}
		op.Parameters = append(op.Parameters, h)
	}
	if o.body != nil || o.media != nil {
		op.Body = &openapi.Body{Required: true, Content: map[string]openapi.Media{}}
	}
	if o.body != nil {
		of, odd := o.body.describe(s)
		strange = append(strange, odd...)
		op.Body.Content["application/json"] = openapi.Media{Schema: of, Example: json.RawMessage(o.body.example)}
		if o.route == "POST /v1/images/edits" {
			op.Body.Content["multipart/form-data"] = formOf(of)
		}
	}
	for t, m := range o.media {
		op.Body.Content[t] = m
	}
	if err := o.describeAnswers(op); err != nil {
		return nil, nil, err
	}
	o.describeFails(op, method, path)
	return op, strange, nil
}

// describeQuery gives the parameters that the parser of a query reads.
func describeQuery(o *operation) (list []openapi.Parameter, strange []string) {
	f := &fields{values: map[string]json.RawMessage{}, whole: json.RawMessage("{}"), from: "query"}
	described := map[string]bool{}
	for _, n := range notesOf(f, func() { o.query(f) }) {
		p := openapi.Parameter{Name: n.name, In: "query", Required: n.required, Schema: n.schema()}
		for _, doc := range o.parameterOf {
			if doc.name == n.name {
				p.Description = doc.text
			}
		}
		if described[n.name] = true; p.Description == "" {
			strange = append(strange, n.name)
		}
		list = append(list, p)
	}
	for _, doc := range o.parameterOf {
		if !described[doc.name] {
			strange = append(strange, doc.name)
		}
	}
	return list, strange
}

// describeAnswers adds the answers that are no errors.
func (o *operation) describeAnswers(op *openapi.Operation) error {
	for _, a := range o.answers {
		status := strconv.Itoa(a.status)
		r := op.Responses[status]
		if r == nil {
			r = &openapi.Response{Description: a.about}
			op.Responses[status] = r
		}
		for name, about := range a.headers {
			if r.Headers == nil {
				r.Headers = map[string]openapi.Header{}
			}
			r.Headers[name] = openapi.Header{Description: about, Schema: &jsonschema.Schema{Type: "string"}}
		}
		media := openapi.Media{Schema: &jsonschema.Schema{Type: "string"}}
		for name, of := range a.events {
			if media.Events == nil {
				media.Events = map[string]*jsonschema.Schema{}
			}
			data, err := schemaTypes.Of(of)
			if err != nil {
				return err
			}
			media.Events[name] = data
			media.Schema.Description = "Events: their types, with their data in JSON, are in x-events."
		}
		switch {
		case a.of != nil:
			of, err := schemaTypes.Of(a.of)
			if err != nil {
				return err
			}
			r.Add("application/json", openapi.Media{Schema: of})
		case a.media == "application/json":
			r.Add(a.media, openapi.Media{Schema: &jsonschema.Schema{Type: "object"}})
		case a.media != "":
			if strings.HasPrefix(a.media, "image/") || a.media == "*/*" {
				media.Schema.Format = "binary"
			}
			r.Add(a.media, media)
		}
	}
	return nil
}
