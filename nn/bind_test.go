package nn

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// house has rooms that a configuration may leave out.
type house struct {
	Door  *Linear `weight:"door"`
	Attic *attic  `weight:"attic"` // nil: this house has none
	Rooms []*room `weight:"rooms"`
	Shed  []*room `weight:"shed.0"`
}

type attic struct {
	Beam *Linear `weight:"beam"`
}

type room struct {
	Wall *Linear `weight:"wall"`
}

func newHouse() *house {
	wall := func() *room { return &room{NewLinear(2, 2, false)} }
	return &house{Door: NewLinear(2, 2, true), Rooms: []*room{wall(), wall()}}
}

// with is the tensors of a house and others.
func with(t *testing.T, more ...string) kernels.Source {
	t.Helper()
	all, err := weights.Tensors(weights.Synthetic("test", Shapes(newHouse()), kernels.F32))
	if err != nil {
		t.Fatal(err)
	}
	tensors := map[string]weights.Tensor{}
	for _, x := range all {
		tensors[x.Name] = x
	}
	for _, name := range more {
		tensors[name] = weights.NewTensor(name, kernels.F32, []int{1}, make([]byte, 4))
	}
	return weights.FromMap(tensors)
}

// TestBindLeavesOthers binds beside tensors that the model has no name for.
func TestBindLeavesOthers(t *testing.T) {
	for _, more := range [][]string{nil, {"logit_scale"}, {"vision_model.x.weight", "denoiser.sigmas"}, {"door.scale"}, {"rooms.weight"}, {"rooms.x.wall.weight"}, {"rooms.1.wall.bias"}, {"atticus.beam.weight"}} {
		bound, err := Bind(newHouse(), with(t, more...))
		if err != nil {
			t.Errorf("%v: %v", more, err)
			continue
		}
		slices.Sort(more)
		if !slices.Equal(bound.Unclaimed, more) {
			t.Errorf("%v: unclaimed %v", more, bound.Unclaimed)
		}
	}
	bound, err := Bind(newHouse(), with(t, "ids", "logit_scale"), "ids")
	if err != nil || !slices.Equal(bound.Unclaimed, []string{"logit_scale"}) {
		t.Errorf("beside a name that is ignored: %v, error %v", bound, err)
	}
}

// TestBindRefusesModulesLeftOut has tensors of modules that the model names and its configuration does without.
func TestBindRefusesModulesLeftOut(t *testing.T) {
	for _, name := range []string{"attic.beam.weight", "attic.scale", "rooms.2.wall.weight", "rooms.17.x", "shed.0.0.wall.weight"} {
		_, err := Bind(newHouse(), with(t, name))
		var e *BindError
		if !errors.As(err, &e) || !slices.Equal(e.LeftOut, []string{name}) || !strings.Contains(err.Error(), "leaves out: "+name) {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := Bind(newHouse(), with(t, name), name); err != nil {
			t.Errorf("%s ignored: %v", name, err)
		}
	}
}

// TestBindRefusesOtherModels has more tensors that nothing claims than ones that fit.
func TestBindRefusesOtherModels(t *testing.T) {
	var more []string
	for i := range 4 { // as many as the house has
		more = append(more, fmt.Sprintf("vision.%d", i))
	}
	if _, err := Bind(newHouse(), with(t, more...)); err != nil {
		t.Errorf("half: %v", err)
	}
	more = append(more, "vision.more")
	_, err := Bind(newHouse(), with(t, more...))
	var e *BindError
	if !errors.As(err, &e) || len(e.Unclaimed) != 5 || !strings.Contains(err.Error(), "5 unknown tensors, more than the 4 that fit: vision.0, ") {
		t.Errorf("most: error %v", err)
	}
}
