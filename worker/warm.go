package worker

import (
	"errors"
	"slices"
	"strings"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/server/engine"
)

// warmth is what a device has of a model that it computed with.
type warmth struct {
	name     string // of the engine's models
	adapters string // what adaptersKey gave for those on its weights
}

// adaptersKey tells sets of adapters apart. Their order makes a difference to the last bit of what they add. ControlNets
// and image prompts do not count: they leave the weights as they are, and any device opens them beside its model.
func adaptersKey(j *job.Job) string {
	var b strings.Builder
	for _, a := range j.Adapters {
		b.WriteString(a.Name + "\x00" + a.Hash + "\x00" + a.Strength + "\x00")
	}
	return b.String()
}

// prefers reports whether the device has a job's model and adapters from the last job with that model.
func (d *device) prefers(j *job.Job) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	w, warm := d.warm[j.Model]
	return warm && w.adapters == adaptersKey(j)
}

// uses notes what a job brings to the device.
func (d *device) uses(j *job.Job, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.warm == nil {
		d.warm = map[string]warmth{}
	}
	d.warm[j.Model] = warmth{name, adaptersKey(j)}
}

// used notes what a job has left on the device: its own model unless that could not be loaded, and of the others those
// that are still open.
func (p *Pool) used(d *device, e engine.Engine, j *job.Job, name string, err error) {
	keeper, several := e.(engine.Keeper)
	var models []engine.ModelStatus
	var costs engine.Costs
	if several {
		models, costs = keeper.Models(), keeper.Costs()
	}
	d.mu.Lock()
	if d.engine != e {
		d.mu.Unlock()
		return
	}
	var load *engine.LoadError
	if _, there := d.warm[j.Model]; errors.As(err, &load) {
		delete(d.warm, j.Model)
	} else if !there { // the job before this one ended while this one's model was not open yet
		d.warm[j.Model] = warmth{name, adaptersKey(j)}
	}
	for _, m := range models {
		for key, w := range d.warm {
			if w.name == m.Name && m.State == engine.Unloaded {
				delete(d.warm, key)
			}
		}
	}
	opened := len(costs.Models) > d.priced
	d.priced = max(d.priced, len(costs.Models))
	d.mu.Unlock()
	if opened && p.config.Opened != nil {
		p.config.Opened(d.index, costs)
	}
}

// DeviceModels is what a device has of the models.
type DeviceModels struct {
	Device string               `json:"device"` // its name; may be ""
	State  State                `json:"state"`
	Models []engine.ModelStatus `json:"models,omitzero"` // nil unless the device is Ready and its engine a [engine.Keeper]
}

// Opened leaves out the models that the device has not opened, for those to whom their names are known.
func (d DeviceModels) Opened() DeviceModels {
	d.Models = slices.DeleteFunc(slices.Clone(d.Models), func(m engine.ModelStatus) bool { return m.State == engine.Unloaded })
	return d
}

// Of are the models of those names alone: what Opened left out is added.
func (d DeviceModels) Of(names []string) DeviceModels {
	all := make([]engine.ModelStatus, 0, len(names))
	for _, name := range names {
		s := engine.ModelStatus{Name: name, State: engine.Unloaded}
		if i := slices.IndexFunc(d.Models, func(m engine.ModelStatus) bool { return m.Name == name }); i >= 0 {
			s = d.Models[i]
		}
		all = append(all, s)
	}
	d.Models = all
	return d
}

// Models says what each device has of the models.
func (p *Pool) Models() []DeviceModels {
	list := make([]DeviceModels, len(p.devices))
	for i, d := range p.devices {
		list[i] = DeviceModels{Device: d.deviceName(), State: d.state()}
		d.mu.RLock()
		if keeper, several := d.engine.(engine.Keeper); several && list[i].State == Ready {
			list[i].Models = keeper.Models()
		}
		d.mu.RUnlock()
	}
	return list
}
