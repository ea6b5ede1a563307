package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"sync"
	"time"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// sdEnlarge enlarges images and gives them as PNG in base64, with what was done to the last one: by models as jobs of
// the queue, which end with their client, else at once. refuse is the error of an image that can't be enlarged.
func (s *Server) sdEnlarge(x *exchange, e sdExtras, list [][]byte, refuse func(i int, err error) error) (images []string, info string, err error) {
	if e.needsDevice() {
		return s.sdUpscale(x, e, list, refuse)
	}
	ctx := x.r.Context()
	images = []string{}
	for i, data := range list {
		encoded, said, err := s.sdProcess(ctx, data, e)
		switch {
		case ctx.Err() != nil:
			return nil, "", context.Cause(ctx)
		case err != nil:
			return nil, "", refuse(i, err)
		}
		images, info = append(images, encoded), said
	}
	return images, info, nil
}

// sdUpscale is sdEnlarge by models: a job for each image.
func (s *Server) sdUpscale(x *exchange, e sdExtras, list [][]byte, refuse func(i int, err error) error) (images []string, info string, err error) {
	if err := s.ready(); err != nil {
		return nil, "", err
	}
	ctx := x.r.Context()
	var jobs []sdBatch
	var sources []source
	texts := map[string][]imagefile.Text{} // of the source of each result
	for i, data := range list {
		from, err := s.uploaded(ctx, data)
		switch {
		case ctx.Err() != nil:
			return nil, "", context.Cause(ctx)
		case err != nil:
			return nil, "", refuse(i, fmt.Errorf("must be an image: %w", err))
		}
		to, err := e.enlarged(image.Pt(from.size.Width, from.size.Height))
		if err != nil {
			return nil, "", refuse(i, err)
		}
		b, err := s.sdUpscaleJob(e, from, to)
		if err != nil {
			return nil, "", err
		}
		b.iteration, info = i, to.info
		jobs, sources = append(jobs, b), append(sources, from)
		if texts[b.task.Outputs[0]], err = imagefile.Texts(data); err != nil { // of an image that can be decoded all the same
			texts[b.task.Outputs[0]] = nil
		}
	}
	if err := s.affords(x, len(list), 1); err != nil {
		return nil, "", err
	}
	x.release() // the images of the body are in sources, in another form
	if err := x.conn.work(); err != nil {
		return nil, "", err
	}
	s.active.Add(1)
	defer s.active.Add(-1)
	kept, err := s.keep(x, sources)
	if err != nil {
		return nil, "", err
	}
	began := time.Now()
	t := &sdTask{id: fmt.Sprintf("task(extras-%d)", began.UnixNano()), owner: x.owner(), job: "extras", began: began, iterations: len(list), images: len(list), skipped: map[int]bool{}}
	s.sdapi.begin(t)
	end := sync.OnceFunc(func() { s.sdapi.end(t) })
	defer end() // after a panic too
	run := &sdRun{server: s, x: x, task: t}
	done, err := run.do(ctx, jobs)
	end()
	defer func() { s.sdForget(run.submitted, kept) }()
	if err != nil {
		return nil, "", err
	}
	for _, j := range done {
		id := j.Outputs[0].ID
		data, _, err := s.store.Read(id)
		if err == nil {
			err = s.sdDecode(ctx, data, func(img *image.NRGBA, _ []imagefile.Text) error {
				encoded, err := sdEncode(e.cropped(img), texts[id], info)
				images = append(images, encoded)
				return err
			})
		}
		if err != nil {
			return nil, "", err
		}
	}
	if len(images) == 0 && len(list) > 0 { // they were interrupted before they began
		return nil, "", &failure{kind: cancelled}
	}
	return images, info, nil
}

// sdUpscaleJob resolves the job that enlarges an image.
func (s *Server) sdUpscaleJob(e sdExtras, from source, to sdEnlarged) (b sdBatch, err error) {
	named := func(c sdChosen) string { return cmp.Or(c.path, strings.ToLower(c.name)) }
	j := engine.Job{Name: s.config.allModels()[0].Name, Model: engine.Base}
	j.Request.Image = sdxl.Blank{Size: from.size}
	j.Upscale = &sdxl.Upscaling{Upscaler: named(e.upscaler), Width: to.target.X, Height: to.target.Y, Resize: sdxl.ResizeStretch}
	if e.visible > 0 {
		j.Upscale.Second, j.Upscale.SecondVisibility = named(e.second), e.visible
	}
	if _, err := s.resolve(&fields{}, &j); err != nil {
		return b, e.ofField(err)
	}
	id, err := s.newID()
	b.task = worker.Task{Job: j, Images: map[string]string{"image": from.id}, Outputs: []string{id}}
	return b, err
}

// ofField lets what is wrong with the size of a result name the field that it comes from.
func (e sdExtras) ofField(err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	for i := range f.problems {
		if p := &f.problems[i]; len(p.Loc) > 1 && p.Loc[1] == "width" {
			if p.Loc[1] = "upscaling_resize"; e.by == 0 {
				p.Loc[1] = "upscaling_resize_w"
			}
		}
	}
	return err
}
