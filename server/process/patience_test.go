package process

import (
	"testing"
	"time"

	"github.com/goxl/goxl/server/engine"
)

// A model that was closed for another one's job has the time to be read again, though that job failed.
func TestPatienceOfClosedModel(t *testing.T) {
	e := &Engine{peer: &peer{}, config: Config{StallTimeout: time.Minute, first: time.Hour}, used: map[part]bool{{"a", engine.Base}: true}}
	j := engine.Job{Name: "a", Model: engine.Base}
	e.models = []engine.ModelStatus{{Name: "a", State: engine.Ready}, {Name: "b", State: engine.Unloaded}}
	if p := e.patience(j); p.first != 0 {
		t.Errorf("%v until the first step of an open model, want none more", p.first)
	}
	e.models = []engine.ModelStatus{{Name: "a", State: engine.Unloaded}, {Name: "b", State: engine.Ready}}
	if p := e.patience(j); p.first != time.Hour {
		t.Errorf("%v until the first step of a closed model, want %v", p.first, time.Hour)
	}
}
