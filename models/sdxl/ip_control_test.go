package sdxl

import (
	"image"
	"path/filepath"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// TestIPAdapterWithControlNet holds runs with a ControlNet and IP-Adapters against diffusers' pipeline; each of the two
// moves the latents.
func TestIPAdapterWithControlNet(t *testing.T) {
	t.Parallel()
	m, dir := newModels(t).open("tiny"), ipFiles(t)
	control := openControlGoldens(t)
	g := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	want := golden.Open(t, testdata+"/goldens/ip_adapter_control.safetensors")
	prompt := func(name string, scale float64, images ...string) IPAdapter {
		a := IPAdapter{Path: filepath.Join(dir, "sdxl_models", name+".safetensors"), Encoder: filepath.Join(dir, "models", "image_encoder"), Scale: &scale}
		for _, i := range images {
			a.Images = append(a.Images, promptImage(g, "image/"+i))
		}
		return a
	}
	for name, prompts := range map[string][]IPAdapter{
		"base": {prompt("base", 1, "a")},
		"both": {prompt("base", 0.7, "a"), prompt("plus", 0.6, "b", "c")},
	} {
		r := small()
		r.LatentsOnly, r.IPAdapters = true, prompts
		r.Controls = []Control{{Path: control.folder("full"), Image: control.picture("a")}}
		generate := func(change func(*Request)) []float32 {
			t.Helper()
			q := r
			change(&q)
			result, err := m.Generate(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			return result.Latents.Data
		}
		all := generate(func(*Request) {})
		latents, _ := want.Floats(name)
		golden.Near(t, name, all, latents, 5e-5)
		for what, change := range map[string]func(*Request){
			"without controls":      func(q *Request) { q.Controls = nil },
			"without image prompts": func(q *Request) { q.IPAdapters = nil },
			"another control image": func(q *Request) {
				q.Controls = []Control{{Path: r.Controls[0].Path, Image: image.NewGray(image.Rect(0, 0, 48, 40))}}
			},
		} {
			if d, err := golden.Distance(generate(change), all); err != nil || d < 0.01 {
				t.Errorf("%s, %s: moved by %v, %v", name, what, d, err)
			}
		}
	}
}
