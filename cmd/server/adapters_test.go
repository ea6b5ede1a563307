package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/server/process"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// waves is a tensor of numbers that vary.
func waves(name string, shape ...int) weights.Tensor {
	return begins(name, math.Sin(float64(len(name))), shape...)
}

// begins is such a tensor with a first number of its own.
func begins(name string, first float64, shape ...int) weights.Tensor {
	data := make([]byte, 4*kernels.Elements(shape))
	for i := range len(data) / 4 {
		value := math.Sin(float64(i + len(name)))
		if i == 0 {
			value = first
		}
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(value)))
	}
	return weights.NewTensor(name, kernels.F32, shape, data)
}

// written writes tensors to a safetensors file.
func written(t *testing.T, path string, tensors ...weights.Tensor) string {
	t.Helper()
	if err := weights.Write(path, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

// inversionFile writes a textual inversion of one vector for each encoder.
func inversionFile(t *testing.T, name string, l, g int) string {
	t.Helper()
	return written(t, filepath.Join(t.TempDir(), name+".safetensors"), waves("clip_l", 1, l), waves("clip_g", 1, g))
}

// adapters writes a folder of them: style, of the tiny model's attention, and what can't be used.
func adapters(t *testing.T) string {
	t.Helper()
	dir, model := t.TempDir(), filepath.Join(t.TempDir(), "tiny")
	if err := sdxl.Synthesise(t.Context(), "tiny", kernels.F32, model); err != nil {
		t.Fatal(err)
	}
	unet, err := weights.Open(filepath.Join(model, "unet", "diffusion_pytorch_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer unet.Close()
	var style, spoiled, uneven []weights.Tensor
	for _, name := range unet.Names() {
		module, isWeight := strings.CutSuffix(name, ".weight")
		_, shape, err := unet.Describe(name)
		if err != nil {
			t.Fatal(err)
		}
		if !isWeight || !strings.Contains(name, ".attn") || len(shape) != 2 {
			continue
		}
		stem := "lora_unet_" + strings.ReplaceAll(module, ".", "_")
		down, up := waves(stem+".lora_down.weight", 3, shape[1]), waves(stem+".lora_up.weight", shape[0], 3)
		style = append(style, down, up)
		uneven = append(uneven, down, waves(stem+".lora_up.weight", shape[0], 2))
		spoiled = append(spoiled, down, begins(stem+".lora_up.weight", math.NaN(), shape[0], 3))
	}
	path := func(name string) string { return filepath.Join(dir, name+".safetensors") }
	written(t, path("style"), style...)
	written(t, path("uneven"), uneven...)
	written(t, path("nan"), spoiled...)
	written(t, path("other"), waves("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", 4, 64), waves("lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight", 64, 4))
	whole, err := os.ReadFile(path("style"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"cut": whole[:len(whole)-100], "empty": nil, "text": []byte("<html>not found</html>")} {
		if err := os.WriteFile(path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// of is a body of a request for a small image.
func of(text, more string) string {
	return fmt.Sprintf(`{"prompt":%q,"width":64,"height":64,"num_inference_steps":2,"seed":1%s}`, text, more)
}

// Adapters, embeddings, prompt styles and presets reach an engine in a process of its own, which computes with them what
// one in this process does. An adapter that can't be used costs its own request and no other, and the next request
// without one has the base's image.
func TestAdaptersApart(t *testing.T) {
	loras := adapters(t)
	embedding := inversionFile(t, "zmq", 32, 48)
	list, err := cli.ReadTextualInversions([]string{embedding})
	if err != nil {
		t.Fatal(err)
	}
	a := newApartOf(t, parseModels(t, []string{"-model", "synth:tiny"}), "cpu", process.Config{}, func(c *server.Config) {
		c.LoRADir, c.TextualInversions, c.PromptStyle = loras, list, prompt.A1111
	})
	address, _, ended := start(t, "-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir(), "-watermark=false",
		"-lora-dir", loras, "-embedding", embedding, "-prompt-style", "a1111")

	first := a.answer(t, of("a cat", ""))
	made := map[string]string{}
	for _, body := range []string{
		of("a cat", ""),
		of("a cat", `,"loras":["style"]`),
		of("a cat", `,"loras":["style:0.5",{"name":"style","strength":-0.25}]`),
		of("a zmq", ""),
		of("a (zmq:1.5)", ""),
		of("a (cat:1.5)", ""),
		of("a (cat:1.5)", `,"prompt_style":"plain"`),
		of("a embedding:zmq", `,"prompt_style":"comfy"`),
		of("a cat", `,"preset":"lcm"`),
		of("a zmq", `,"preset":"lcm","loras":["style"]`),
	} {
		png := a.answer(t, body)
		if other := made[png]; other != "" {
			t.Errorf("%s and %s give the same image", body, other)
		}
		made[png] = body
		if here := get(t, address+"/download/"+post(t, address+"/generate", body)); here != png {
			t.Errorf("%s: a process of its own computes another image", body)
		}
	}
	if again := a.answer(t, of("a cat", "")); again != first {
		t.Error("after adapters, the base gives another image")
	}

	for _, name := range []string{"cut", "empty", "text", "uneven", "nan", "other", "nowhere", "../style"} {
		code, answer := a.do("POST", "/generate", of("a cat", `,"loras":["style",`+fmt.Sprintf("%q", name)+`]`))
		var bad struct {
			Detail []struct {
				Loc []any
				Msg string
			}
		}
		if err := json.Unmarshal([]byte(answer), &bad); code != 422 || err != nil || len(bad.Detail) != 1 || len(bad.Detail[0].Loc) < 2 || bad.Detail[0].Loc[1] != "loras" {
			t.Errorf("%s: %d %s\n%s", name, code, answer, a.log)
		}
		if strings.Contains(answer, loras) {
			t.Errorf("%s: the answer says where the adapters lie: %s", name, answer)
		}
		if again := a.answer(t, of("a cat", "")); again != first {
			t.Errorf("after %s, the base gives another image", name)
		}
	}
	if e := <-a.engines; e.Lost() != nil || len(a.engines) > 0 {
		t.Errorf("the engine was started again: %v\n%s", e.Lost(), a.log)
	}
	code, answer := a.do("POST", "/generate", of("a embedding:zqm", `,"prompt_style":"comfy"`))
	if code != 200 || !strings.Contains(answer, "embedding:zqm, an embedding that there is not, which is left out; there are: zmq") {
		t.Errorf("an unknown embedding: %d %s", code, answer)
	}
	code, answer = a.do("POST", "/generate", of("a cat", `,"loras":["style:0.5"]`))
	var said struct{ Parameters sdxl.Parameters }
	if err := json.Unmarshal([]byte(answer), &said); code != 200 || err != nil || len(said.Parameters.LoRAs) != 1 || len(said.Parameters.LoRAs[0].Hash) != 64 ||
		said.Parameters.LoRAs[0].Strength != "0.5" || !slices.Equal(said.Parameters.TextualInversions, []string{"zmq"}) {
		t.Errorf("%d %v %s", code, err, answer)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}
}

// answer is the PNG of an image that is asked for.
func (a *apart) answer(t *testing.T, body string) string {
	t.Helper()
	_, png := a.image(t, "/generate", body)
	return png
}
