package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"
)

// prompts are few, as are seeds, so that many requests are the same and must give the same image.
var prompts = []string{"two cats on a teal background", "a red apple", "a lighthouse at dusk", "", "a blue car", "ünïcödé 猫"}

const seeds = 40

// body is what a request for images asks for, and what they must be.
type body struct {
	fields map[string]any
	want   want
	images int
}

// body is a random request for text-to-image.
func (l *load) body(random *rand.Rand) body {
	w := want{
		width: l.s.size, height: l.s.size, prompt: prompts[random.IntN(len(prompts))], steps: l.s.steps + random.IntN(2), seed: uint64(random.IntN(seeds)),
		kind: "image/png",
	}
	if random.IntN(8) == 0 {
		w.width += 64
	}
	w.recipe = fmt.Sprintf("%q %d×%d, %d steps, seed %d", w.prompt, w.width, w.height, w.steps, w.seed)
	return body{map[string]any{"prompt": w.prompt, "width": w.width, "height": w.height, "num_inference_steps": w.steps, "seed": w.seed}, w, 1}
}

// imageBody is a random request for image-to-image.
func (l *load) imageBody(random *rand.Rand) body {
	u := l.uploads[random.IntN(len(l.uploads))]
	b := l.body(random)
	b.want.width, b.want.height, b.want.recipe = l.s.size, l.s.size, ""
	delete(b.fields, "width")
	delete(b.fields, "height")
	b.fields["strength"], b.fields["task"] = 0.9, "image-to-image"
	switch random.IntN(3) {
	case 0:
		b.fields["image"] = u.id
	case 1:
		b.fields["image"] = dataURL(u.kind, u.data)
	case 2:
		b.fields["image"] = base64.StdEncoding.EncodeToString(u.data)
	}
	return b
}

// vary gives a job what only jobs have: a batch, a format, previews, a priority.
func (b *body) vary(random *rand.Rand) {
	if random.IntN(4) == 0 {
		b.images = 2 + random.IntN(2)
		b.fields["n"] = b.images
		b.want.recipe += fmt.Sprintf(", %d images", b.images)
	}
	if format := random.IntN(5); format < 2 {
		b.fields["output_format"] = []string{"jpeg", "webp"}[format]
		b.want.kind = []string{"image/jpeg", "image/webp"}[format]
		b.want.recipe = ""
	}
	if random.IntN(3) == 0 {
		b.fields["preview_every"] = 1
	}
	if random.IntN(5) == 0 {
		b.fields["priority"] = random.IntN(21) - 10
	}
}

// submit submits a job, whose id must be new.
func (l *load) submit(ctx context.Context, b body, header ...[2]string) (id string, err error) {
	a, err := l.c.post(ctx, "/v1/jobs", b.fields, header...)
	if err != nil {
		return "", err
	}
	var j jobRecord
	if a.status != 202 || a.object(&j) != nil {
		l.r.violate("a job is refused", "%v: %s", b.want, a)
		return "", nil
	}
	if !l.known.accept(&accepted{id: j.ID, want: b.want, images: b.images}) {
		l.r.violate("an id was answered twice", "%s", j.ID)
	}
	return j.ID, nil
}

func (l *load) textJob(ctx context.Context, random *rand.Rand) error {
	b := l.body(random)
	b.vary(random)
	_, err := l.submit(ctx, b)
	return err
}

func (l *load) imageJob(ctx context.Context, random *rand.Rand) error {
	b := l.imageBody(random)
	b.vary(random)
	b.want.recipe = ""
	_, err := l.submit(ctx, b)
	return err
}

// repeatJob submits a job, and again with the same key, from two sides at once; then another one with that key.
func (l *load) repeatJob(ctx context.Context, random *rand.Rand) error {
	b := l.body(random)
	key := [2]string{"Idempotency-Key", fmt.Sprintf("key %x", random.Uint64())}
	second := make(chan error, 1)
	var again jobRecord
	go func() {
		a, err := l.c.post(ctx, "/v1/jobs", b.fields, key)
		if err == nil {
			err = a.object(&again)
		}
		second <- err
	}()
	a, err := l.c.post(ctx, "/v1/jobs", b.fields, key)
	serr := <-second
	if err != nil || serr != nil {
		return fmt.Errorf("%w, %w", err, serr)
	}
	var j jobRecord
	if a.status != 202 && a.status != 200 || a.object(&j) != nil {
		l.r.violate("a job is refused", "%v: %s", b.want, a)
		return nil
	}
	if j.ID != again.ID {
		l.r.violate("one key has two jobs", "%s and %s", j.ID, again.ID)
	}
	l.known.accept(&accepted{id: j.ID, want: b.want, images: b.images})
	other := maps.Clone(b.fields)
	other["seed"] = b.want.seed + 1
	if a, err = l.c.post(ctx, "/v1/jobs", other, key); err == nil && a.status != 422 {
		l.r.violate("a key is taken with another body", "%s", a)
	}
	return err
}

// followJob submits a job and follows it to its end, over connections that drop.
func (l *load) followJob(ctx context.Context, random *rand.Rand) error {
	b := l.body(random)
	b.fields["preview_every"] = 1
	id, err := l.submit(ctx, b)
	if err != nil || id == "" {
		return err
	}
	drops, err := l.c.follow(ctx, id, func() bool { return random.IntN(3) == 0 })
	l.dropped.Add(int64(drops))
	if err != nil && l.known.isRemoved(id) {
		return nil
	}
	return err
}

func (l *load) generate(ctx context.Context, random *rand.Rand) error {
	b := l.body(random)
	return l.answered(ctx, "/generate", b)
}

func (l *load) refine(ctx context.Context, random *rand.Rand) error {
	b := l.imageBody(random)
	b.fields["id"] = l.uploads[random.IntN(len(l.uploads))].id
	if m := l.known.someImage(random); m.id != "" {
		b.fields["id"], b.want.width, b.want.height = m.id, m.want.width, m.want.height
	}
	delete(b.fields, "image")
	delete(b.fields, "task")
	if l.base {
		b.fields["refiner"] = false
	}
	return l.answered(ctx, "/refine", b)
}

// answered asks for one image that is answered by its id.
func (l *load) answered(ctx context.Context, path string, b body) error {
	a, err := l.c.post(ctx, path, b.fields)
	if err != nil {
		return err
	}
	var answer struct {
		ID         string
		Parameters struct{ Seed uint64 }
	}
	if a.status != 200 || a.object(&answer) != nil || answer.Parameters.Seed != b.want.seed {
		l.r.violate("an image is refused", "%s %v: %s", path, b.want, a)
		return nil
	}
	l.known.make(answer.ID, b.want)
	return nil
}

// hangUp asks for an image and leaves before it is there.
func (l *load) hangUp(ctx context.Context, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(300))*time.Millisecond)
	defer cancel()
	b := l.body(random)
	a, err := l.c.post(ctx, "/generate", b.fields)
	if err != nil {
		l.hungUp.Add(1)
		return nil
	}
	var answer struct{ ID string }
	if a.object(&answer) == nil && a.status == 200 {
		l.known.make(answer.ID, b.want)
	}
	return nil
}
