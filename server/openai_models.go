package server

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// modelView is a model as OpenAI's clients see it, with what else is known of it.
type modelView struct {
	ID      string `json:"id"`
	Object  string `json:"object"`  // "model"
	Created int64  `json:"created"` // Unix seconds: when its files were written; 0 is not known
	OwnedBy string `json:"owned_by"`
	State   string `json:"state"` // "ready" or "loading"
	Default bool   `json:"default"`
	Kind    string `json:"kind"` // "base" or "refiner"
}

// models are the views of the server's models, the default one first.
func (s *Server) models() (list []modelView) {
	state := string(worker.Loading)
	if slices.Contains(s.pool.States(), worker.Ready) {
		state = string(worker.Ready)
	}
	for _, m := range []struct {
		spec *sdxl.Spec
		kind string
	}{{s.config.Specs.Base, "base"}, {s.config.Specs.Refiner, "refiner"}} {
		if m.spec == nil {
			continue
		}
		v := modelView{ID: filepath.Base(m.spec.Path), Object: "model", OwnedBy: "goxl", State: state, Default: len(list) == 0, Kind: m.kind}
		if slices.ContainsFunc(list, func(other modelView) bool { return other.ID == v.ID }) {
			continue
		}
		if info, err := os.Stat(m.spec.Path); err == nil {
			v.Created = info.ModTime().Unix()
		}
		list = append(list, v)
	}
	return list
}

func (s *Server) listModels(x *exchange) error {
	return x.reply(http.StatusOK, struct {
		Object string      `json:"object"`
		Data   []modelView `json:"data"`
	}{"list", s.models()})
}

func (s *Server) getModel(x *exchange) error {
	id := x.r.PathValue("id")
	for _, m := range s.models() {
		if m.ID == id {
			return x.reply(http.StatusOK, m)
		}
	}
	return s.unknownModel(id)
}

// unknownModel is the error of a name that no model has.
func (s *Server) unknownModel(name string) *failure {
	var names []string
	for _, name := range s.modelNames() {
		names = append(names, "'"+name+"'")
	}
	input, err := json.Marshal(beginning(name))
	if err != nil {
		return &failure{kind: internal, err: err}
	}
	return &failure{kind: noModel, problems: []problem{{
		Type: "model_not_found", Loc: []any{"body", "model"}, Msg: "the model does not exist: must be " + strings.Join(names, " or "), Input: input,
	}}}
}
