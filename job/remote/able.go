package remote

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/worker"
)

// refusal is what is remembered of a job that workers found that they can't compute.
type refusal struct {
	by  map[string]bool // workers, by id
	why *job.Error      // what the last one said
}

// able reports whether a worker can compute a job, as far as is known. The caller holds mu.
func (a *API) able(p *peer, j *job.Job) bool {
	r := a.refusals[j.ID]
	return a.has(p, j.Model) && (r == nil || !r.by[p.id])
}

// has reports whether a worker has a model. The caller holds mu.
func (a *API) has(p *peer, model string) bool {
	return slices.Contains(p.said.Models, model) && !a.other(p, model)
}

// other reports whether a worker's model of that name is another one than this server's.
func (a *API) other(p *peer, model string) bool {
	here, there := a.options.Fingerprints[model], p.said.Fingerprints[model]
	return here != "" && there != "" && here != there
}

// differing are the models of which a worker has other files than this server or, where that has none to compare, than
// another worker. The caller holds mu.
func (a *API) differing(p *peer) (names []string) {
	for _, name := range p.said.Models {
		differs := a.other(p, name)
		if there := p.said.Fingerprints[name]; there != "" && a.options.Fingerprints[name] == "" {
			for _, q := range a.peers {
				if of := q.said.Fingerprints[name]; of != "" && of != there {
					differs = true
				}
			}
		}
		if differs {
			names = append(names, name)
		}
	}
	return names
}

// refuse notes that a worker can't compute a job, and reports whether another may.
func (a *API) refuse(r *run, why *job.Error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	of := a.refusals[r.job.ID]
	if of == nil {
		of = &refusal{by: map[string]bool{}}
		a.refusals[r.job.ID] = of
	}
	of.by[r.peer.id], of.why = true, why
	return a.options.Local || a.someAble(&r.job)
}

// someAble reports whether there is a worker that can compute a job. The caller holds mu.
func (a *API) someAble(j *job.Job) bool {
	for _, p := range a.peers {
		if !p.said.Leaving && a.able(p, j) {
			return true
		}
	}
	return false
}

// Able reports whether there is a worker that can compute a job, as far as is known. It is quick, and may be called while
// the queue is locked.
func (a *API) Able(j *job.Job) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.someAble(j)
}

// Offered are the names of the models that workers have, sorted; some is whether there are workers.
func (a *API) Offered() (models []string, some bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.peers {
		if p.said.Leaving {
			continue
		}
		some = true
		for _, m := range p.said.Models {
			if a.has(p, m) {
				models = append(models, m)
			}
		}
	}
	slices.Sort(models)
	return slices.Compact(models), some
}

// Models says what the devices of workers have of the models. A device whose worker lacks a model has no entry for it.
func (a *API) Models() (list []worker.DeviceModels) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.peers {
		names := slices.DeleteFunc(slices.Clone(p.said.Models), func(name string) bool { return !a.has(p, name) })
		for _, d := range p.said.Opened {
			d = d.Of(names)
			d.Device = p.said.Name + "/" + d.Device
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b worker.DeviceModels) int { return strings.Compare(a.Device, b.Device) })
	return list
}

// failLacking fails the jobs for which there are workers, but has been none for Patience that can compute them.
func (a *API) failLacking() {
	if a.options.Local {
		return
	}
	now := a.options.now()
	waiting := map[string]time.Time{}
	a.queue.FailWaiting(func(j *job.Job) *job.Error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.peers) == 0 || a.someAble(j) || a.holder(j.ID) != nil {
			return nil
		}
		since, known := a.lacking[j.ID]
		if !known {
			since = now
		}
		waiting[j.ID] = since
		if now.Sub(since) < a.options.Patience {
			return nil
		}
		why := a.whyNot(j)
		a.options.Log.Warn("no worker can compute a job", slog.String("job", j.ID), slog.String("reason", why.Message))
		return why
	})
	a.mu.Lock()
	a.lacking = waiting
	a.mu.Unlock()
}

// whyNot says why no worker can compute a job. The caller holds mu.
func (a *API) whyNot(j *job.Job) *job.Error {
	if r := a.refusals[j.ID]; r != nil {
		return r.why
	}
	return &job.Error{Kind: worker.KindOtherModel, Message: fmt.Sprintf("No worker has the model %q: %s", j.Model, a.whatThereIs(j.Model))}
}

// mostListed is how many workers, and models of each, are named in an error.
const mostListed = 16

// whatThereIs says which models the workers have in place of one. The caller holds mu.
func (a *API) whatThereIs(model string) string {
	var all []string
	for _, p := range a.peers {
		names := slices.Sorted(slices.Values(p.said.Models))
		for i, name := range names {
			if name == model && a.other(p, model) {
				names[i] += " (other files than the server's)"
			}
		}
		all = append(all, p.said.Name+" has "+few(names, ", "))
	}
	slices.Sort(all)
	return few(all, "; ")
}

func few(list []string, separator string) string {
	if more := len(list) - mostListed; more > 0 {
		list = append(slices.Clone(list[:mostListed]), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, separator)
}
