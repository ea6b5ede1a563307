package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// sdGenerate answers txt2img and img2img: the images of all iterations, each as if it were made alone with its seed.
func (s *Server) sdGenerate(x *exchange, img2img bool) error {
	if err := s.ready(); err != nil {
		return err
	}
	f, _, err := s.readLargeFields(x)
	if err != nil {
		return err
	}
	ctx := x.r.Context()
	q, err := s.sdRequest(ctx, x.owner(), f, img2img)
	if err != nil {
		return err
	}
	batches, err := s.sdBatches(q)
	if err != nil {
		return err
	}
	if err := s.affords(x, q.batch*q.iterations, 1); err != nil {
		return err
	}
	x.release() // the image of the body is in q, in another form
	if err := x.conn.work(); err != nil {
		return err
	}
	s.active.Add(1)
	defer s.active.Add(-1)
	kept, err := s.keep(x, q.uploads)
	if err != nil {
		return err
	}
	name := "txt2img"
	if img2img {
		name = "img2img"
	}
	t := &sdTask{
		id: q.task, owner: x.owner(), job: "scripts_" + name, began: time.Now(), iterations: q.iterations, images: q.batch * q.iterations, skipped: map[int]bool{},
	}
	if t.id == "" {
		t.id = fmt.Sprintf("task(%s-%d)", name, t.began.UnixNano())
	}
	s.sdapi.begin(t)
	end := sync.OnceFunc(func() { s.sdapi.end(t) })
	defer end() // after a panic too
	run := &sdRun{server: s, x: x, task: t}
	made, err := run.do(ctx, batches)
	end()
	if err == nil {
		err = s.sdAnswer(x, q, t, made)
	}
	if !q.save || err != nil {
		s.sdForget(run.submitted, kept)
	}
	return err
}

// sdBatch is a job of a request.
type sdBatch struct {
	task      worker.Task
	warning   string
	iteration int
}

// sdBatches are the jobs of a request: those of an iteration together as far as Config.MaxBatch allows, which changes no
// image.
func (s *Server) sdBatches(q *sdRequest) (list []sdBatch, err error) {
	images := 0
	type form struct{ n, init int }
	resolved := map[form]sdBatch{} // the jobs of one form differ in nothing but their seeds
	for iteration := range q.iterations {
		for left := q.batch; left > 0; {
			of := form{n: min(left, s.config.MaxBatch)}
			if len(q.inits) > 1 {
				of = form{1, q.batch - left}
			}
			n := of.n
			b, there := resolved[of]
			if !there {
				if b, err = s.sdBatch(q, n, of.init); err != nil {
					return nil, err
				}
				resolved[of] = b
			}
			b.iteration, b.task.Outputs = iteration, nil
			r, p := &b.task.Job.Request, &b.task.Job.Parameters
			own, subseed := q.seeds(images, n)
			p.Seed = own[0]
			if n == 1 {
				r.Seed = new(own[0])
			} else {
				r.Seeds, p.Seeds = own, own
			}
			if r.SubseedStrength > 0 {
				r.Subseed, p.Subseed = new(subseed), subseed
			}
			for range n {
				id, err := s.newID()
				if err != nil {
					return nil, err
				}
				b.task.Outputs = append(b.task.Outputs, id)
			}
			list = append(list, b)
			left, images = left-n, images+n
		}
	}
	return list, nil
}

// sdBatch resolves a job of n images, which begin with one of those that img2img has.
func (s *Server) sdBatch(q *sdRequest, n, init int) (b sdBatch, err error) {
	b.task = worker.Task{Job: q.job, Images: q.images, Format: q.settings.format, Quality: q.settings.quality}
	if len(q.inits) > 0 {
		b.task.Job.Request.Image, b.task.Images = sdxl.Blank{Size: q.inits[init].size}, maps.Clone(q.images)
		b.task.Images["image"] = q.inits[init].id
	}
	if q.settings.previews {
		b.task.PreviewEvery = q.settings.every
	}
	r := &b.task.Job.Request
	if r.Seed = new(q.seed); n > 1 {
		r.Seed, r.Seeds, r.ImagesPerPrompt = nil, seeds(q.seed, n), n
	}
	b.warning, err = s.resolve(q.fields, &b.task.Job)
	return b, err
}

// seeds are n from the first on.
func seeds(first uint64, n int) (list []uint64) {
	for i := range n {
		list = append(list, first+uint64(i))
	}
	return list
}

// sdRun computes the jobs of a task.
type sdRun struct {
	server    *Server
	x         *exchange
	task      *sdTask
	submitted []string // ids of the jobs
}

// do submits the jobs, one more than there are devices at a time, and gives those that are done, in order: also with the
// image so far of one that was interrupted or skipped, unless it had not begun. Another one that is not done ends the
// rest with it.
func (r *sdRun) do(ctx context.Context, batches []sdBatch) (done []job.Job, err error) {
	s := r.server
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	var flying []*sdJob
	for len(batches) > 0 || len(flying) > 0 {
		for len(batches) > 0 && len(flying) <= max(1, len(s.config.Devices)) {
			if s.sdapi.skips(r.task, batches[0].iteration) {
				batches = batches[1:]
				continue
			}
			j, err := r.submit(batches[0])
			if len(flying) > 0 && fullForNow(err) {
				break // there is room when the first has ended
			}
			if err != nil {
				return nil, r.cancel(flying, err)
			}
			batches = batches[1:]
			flying = append(flying, j)
			following.Go(func() { s.sdapi.follow(ctx, s.queue, j) })
			if !s.sdapi.add(r.task, j) {
				if err := r.cancel([]*sdJob{j}, nil); err != nil {
					return nil, err
				}
			}
		}
		if len(flying) == 0 {
			break
		}
		first := flying[0]
		flying = flying[1:]
		j, err := s.await(ctx, first.id)
		s.sdapi.remove(r.task, first, err == nil)
		var failed *failure
		switch {
		case err == nil:
			done = append(done, j)
		case errors.As(err, &failed) && failed.kind == cancelled && s.sdapi.skips(r.task, first.iteration):
		default:
			return nil, r.cancel(flying, err)
		}
	}
	return done, nil
}

// fullForNow reports whether a job was refused that may be taken later.
func fullForNow(err error) bool {
	var f *failure
	if !errors.As(err, &f) {
		return false
	}
	status := answers[f.kind].status
	return status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
}

// submit gives a job to the queue.
func (r *sdRun) submit(b sdBatch) (*sdJob, error) {
	s := r.server
	j, err := s.attach(r.x, b.task, 0, b.warning)
	if err != nil {
		return nil, err
	}
	if r.submitted = append(r.submitted, j.ID); len(r.submitted) == 1 {
		r.x.job = j.ID
	}
	return &sdJob{id: j.ID, iteration: b.iteration, images: len(b.task.Outputs)}, nil
}

// cancel ends jobs that nobody waits for any more; see Server.cancel.
func (r *sdRun) cancel(jobs []*sdJob, err error) error {
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.id
	}
	return r.server.cancel(ids, err)
}

// sdMadeView is A1111's answer of txt2img and img2img.
type sdMadeView struct {
	Images     []string        `json:"images" jsonschema:"Files in base64."`
	Parameters json.RawMessage `json:"parameters" jsonschema:"The request with its defaults."`
	Info       string          `json:"info" jsonschema:"An object in JSON: seeds, infotexts, and what nothing came of."`
}

// sdAnswer answers with the images of jobs that are done.
func (s *Server) sdAnswer(x *exchange, q *sdRequest, t *sdTask, done []job.Job) error {
	info := q.newInfo(s, t)
	images := []string{}
	for _, j := range done {
		var p sdxl.Parameters
		if err := json.Unmarshal(j.Parameters, &p); err != nil {
			return err
		}
		info.add(q, s.config.Version, j, p)
		if !q.send {
			continue
		}
		for _, b := range j.Outputs {
			data, _, err := s.store.Read(b.ID)
			if err != nil {
				return err
			}
			images = append(images, base64.StdEncoding.EncodeToString(data))
		}
	}
	x.warned = len(info.Warnings)
	sdIgnored(x, q.ignored)
	text, err := info.text()
	if err != nil {
		return err
	}
	return x.reply(http.StatusOK, sdMadeView{images, sdEcho(q.fields, q.img2img), strings.TrimSpace(text)})
}
