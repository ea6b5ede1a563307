package server

import (
	"strings"
	"testing"

	"github.com/goxl/goxl/server/engine"
)

// The models are listed as OpenAI lists them, and what names one runs it or is refused.
func TestOpenAIModels(t *testing.T) {
	b := loadedBench(t, nil)
	const base = `{"id":"fake-base","object":"model","created":0,"owned_by":"goxl","state":"ready","default":true,"kind":"base"}`
	const refiner = `{"id":"fake-refiner","object":"model","created":0,"owned_by":"goxl","state":"ready","default":false,"kind":"refiner"}`
	for path, want := range map[string]string{
		"/v1/models":              `{"object":"list","data":[` + base + `,` + refiner + `]}`,
		"/v1/models/fake-base":    base,
		"/v1/models/fake-refiner": refiner,
	} {
		if w := b.do("GET", path, ""); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := b.do("GET", "/v1/models/dall-e-3", ""); w.Code != 404 || w.Body.String() != unknownModelAnswer {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := newBench(t, nil).do("GET", "/v1/models/fake-base", ""); !strings.Contains(w.Body.String(), `"state":"loading"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}

	var got engine.Model
	take := func(j engine.Job) { got = j.Model }
	b.base.take, b.refiner.take = take, take
	id := generated(t, b.do("POST", "/v1/images/generations", `{"prompt":"a","model":"fake-base"}`)).Data[0].ID
	if got != engine.Base {
		t.Errorf("a generation runs on %s", got)
	}
	for fields, want := range map[string]engine.Model{
		"": engine.Refiner, `,"model":"fake-base"`: engine.Base, `,"model":"fake-refiner"`: engine.Refiner, `,"refiner":false`: engine.Base,
	} {
		generated(t, b.do("POST", "/v1/images/edits", `{"prompt":"a","images":[{"file_id":"`+id+`"}]`+fields+`}`))
		if got != want {
			t.Errorf("an edit with %s runs on %s, want %s", fields, got, want)
		}
	}
}

// With several models, a refiner of any of them is one.
func TestOpenAIRefiners(t *testing.T) {
	b, _ := severalModels(t, func(c *Config) {
		c.Models[0].Specs.Refiner = spec(t, "tiny-refiner", "second-refiner", "{}", nil)
		c.Models[1].Specs.Refiner = spec(t, "tiny-refiner", "sub/third", "{}", nil)
		c.Models[1].Name = "third" // as its refiner is called
	})
	var got engine.Job
	note := func(j engine.Job) { got = j }
	b.base.take, b.refiner.take = note, note
	id := generated(t, b.do("POST", "/v1/images/generations", `{"prompt":"a","model":"third"}`)).Data[0].ID
	if got.Name != "third" || got.Model != engine.Base {
		t.Errorf("a generation on a model with its refiner's name runs on %s %s", got.Name, got.Model)
	}
	for name, want := range map[string]engine.Job{
		"second-refiner": {Name: "other", Model: engine.Refiner}, "fake-refiner": {Name: "fake-base", Model: engine.Refiner},
		"other": {Name: "other", Model: engine.Base}, "third": {Name: "third", Model: engine.Refiner},
	} {
		generated(t, b.do("POST", "/v1/images/edits", `{"prompt":"a","model":"`+name+`","image":"`+id+`"}`))
		if got.Name != want.Name || got.Model != want.Model {
			t.Errorf("an edit on %s runs on %s %s, want %s %s", name, got.Name, got.Model, want.Name, want.Model)
		}
	}
	w := b.do("POST", "/v1/images/generations", `{"prompt":"a","model":"second-refiner"}`)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "this refiner makes images from images alone") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A name that base and refiner have leaves it to the other fields which one runs.
func TestOpenAISameNames(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.Specs.Refiner = spec(t, "tiny-refiner", "fake-base", "{}", nil) })
	var got engine.Model
	take := func(j engine.Job) { got = j.Model }
	b.base.take, b.refiner.take = take, take
	id := generated(t, b.do("POST", "/v1/images/generations", `{"prompt":"a","model":"fake-base"}`)).Data[0].ID
	for fields, want := range map[string]engine.Model{"": engine.Refiner, `,"model":"fake-base"`: engine.Refiner, `,"model":"fake-base","refiner":false`: engine.Base} {
		if generated(t, b.do("POST", "/v1/images/edits", `{"prompt":"a","image":"`+id+`"`+fields+`}`)); got != want {
			t.Errorf("an edit with %s runs on %s, want %s", fields, got, want)
		}
	}
	if w := b.do("GET", "/v1/models", ""); strings.Count(w.Body.String(), `"id"`) != 1 {
		t.Errorf("%s", w.Body)
	}
}
