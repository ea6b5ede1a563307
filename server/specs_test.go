package server

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/goxl/goxl/models/sdxl"
)

// configs are the configurations of a synthetic model with others in their place.
func configs(t testing.TB, synthetic string, others fstest.MapFS) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	from := os.DirFS(path.Join("../models/sdxl/synthetic", synthetic))
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(from, name)
		files[name] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(files, others)
	return files
}

// spec reads a specification of a synthetic model with other defaults.
func spec(t testing.TB, synthetic, name, defaults string, others fstest.MapFS) *sdxl.Spec {
	t.Helper()
	files := fstest.MapFS{"goxl.json": {Data: []byte(defaults)}}
	maps.Copy(files, others)
	s, err := sdxl.ReadSpecFS(configs(t, synthetic, files), "models/"+name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const baseDefaults = `{"width":64,"height":32}`

var specs struct {
	sync.Mutex
	base, refiner *sdxl.Spec
}

// fakeBase is a model of 64×32 pixels that is run as diffusers does.
func fakeBase(t testing.TB) *sdxl.Spec {
	t.Helper()
	specs.Lock()
	defer specs.Unlock()
	if specs.base == nil {
		specs.base = spec(t, "tiny", "fake-base", baseDefaults, nil)
	}
	return specs.base
}

// fakeRefiner has defaults of its own.
func fakeRefiner(t testing.TB) *sdxl.Spec {
	t.Helper()
	specs.Lock()
	defer specs.Unlock()
	if specs.refiner == nil {
		specs.refiner = spec(t, "tiny-refiner", "fake-refiner", `{"num_inference_steps":20,"guidance_scale":1.5,"strength":0.2}`, nil)
	}
	return specs.refiner
}

// heunBase is fakeBase whose own scheduler calls the model twice a step.
func heunBase(t testing.TB) *sdxl.Spec {
	t.Helper()
	return spec(t, "tiny", "fake-base", baseDefaults, fstest.MapFS{"scheduler/scheduler_config.json": {Data: []byte(
		`{"_class_name":"HeunDiscreteScheduler","beta_start":0.00085,"beta_end":0.012,"beta_schedule":"scaled_linear","num_train_timesteps":1000,"prediction_type":"epsilon","steps_offset":1,"timestep_spacing":"leading"}`)}})
}
