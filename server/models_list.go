package server

import (
	"net/http"
	"os"
	"slices"

	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// modelView is a model as OpenAI's clients see it, with what else is known of it.
type modelView struct {
	ID      string                `json:"id"`
	Object  string                `json:"object" jsonschema:"Always model."`
	Created int64                 `json:"created" jsonschema:"Unix seconds: when its files were written; 0 is not known."`
	OwnedBy string                `json:"owned_by"`
	State   engine.ModelState     `json:"state" jsonschema:"The best of the devices'."`
	Percent float64               `json:"percent,omitempty" jsonschema:"How much of it is read, 0 to 100, while it is loaded."`
	Default bool                  `json:"default"`
	Kind    string                `json:"kind" jsonschema:"base or refiner."`
	Devices map[string]modelState `json:"devices,omitempty"`
}

// modelState is what one device has of a model.
type modelState struct {
	State   engine.ModelState `json:"state"`
	Percent float64           `json:"percent,omitempty"`
}

// models are the views of the server's models, the default one first, and of their refiners. A refiner is where its
// model is.
func (s *Server) models() (list []modelView) {
	on := s.deviceModels()
	all := s.config.allModels()
	refiners := map[string]bool{}
	for i, m := range all {
		v := modelView{ID: m.Name, Object: "model", Created: written(m.Specs.Base.Path), OwnedBy: "goxl", Default: i == 0, Kind: "base"}
		v.where(on, m.Name, i == 0)
		list = append(list, v)
		refiners[m.Name] = true // what is a base's name already
	}
	for i, m := range all {
		name := m.refinerName()
		if name == "" || refiners[name] {
			continue
		}
		refiners[name] = true
		v := modelView{ID: name, Object: "model", Created: written(m.Specs.Refiner.Path), OwnedBy: "goxl", Kind: "refiner"}
		v.where(on, m.Name, i == 0)
		list = append(list, v)
	}
	return list
}

// where says what the devices have of a model. An engine of one model has it once it is open.
func (v *modelView) where(on []worker.DeviceModels, name string, first bool) {
	v.State = engine.Unloaded
	for _, d := range on {
		state := modelState{State: engine.Unloaded}
		switch i := slices.IndexFunc(d.Models, func(m engine.ModelStatus) bool { return m.Name == name }); {
		case i >= 0:
			state = modelState{d.Models[i].State, d.Models[i].Percent}
		case d.Models != nil:
			continue // the worker of the device lacks the model
		case first && d.State != worker.Ready:
			state.State = engine.Loading // engines open it at once
		case first:
			state.State = engine.Ready
		}
		switch {
		case state.State == engine.Ready:
			v.State, v.Percent = engine.Ready, 0
		case state.State == engine.Loading && v.State != engine.Ready:
			v.State, v.Percent = engine.Loading, max(v.Percent, state.Percent)
		}
		if d.Device != "" {
			if v.Devices == nil {
				v.Devices = map[string]modelState{}
			}
			v.Devices[d.Device] = state
		}
	}
}

// written is when a file or folder was changed, 0 for what is neither.
func written(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.ModTime().Unix()
}

// modelPage is OpenAI's list of models.
type modelPage struct {
	Object string      `json:"object" jsonschema:"Always list."`
	Data   []modelView `json:"data"`
}

func (s *Server) listModels(x *exchange) error {
	return x.reply(http.StatusOK, modelPage{"list", s.models()})
}
