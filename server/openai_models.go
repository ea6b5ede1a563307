package server

import (
	"encoding/json"
	"net/http"
	"strings"
)

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
