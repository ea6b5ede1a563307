package server

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/lora"
)

// sdModelItem is a model in GET /sdapi/v1/sd-models. Where its file lies is nobody's business.
type sdModelItem struct {
	Title    string  `json:"title"`
	Name     string  `json:"model_name"`
	Hash     *string `json:"hash" jsonschema:"As in A1111, null until it is computed."`
	SHA256   *string `json:"sha256"`
	Filename string  `json:"filename"`
	Config   *string `json:"config"`
}

// sdLoRA is an adapter in GET /sdapi/v1/loras.
type sdLoRA struct {
	Name     string         `json:"name"`
	Alias    string         `json:"alias"`
	Path     string         `json:"path"`
	Metadata map[string]any `json:"metadata"`
}

// sdUpscaler is a way to enlarge an image in GET /sdapi/v1/upscalers.
type sdUpscaler struct {
	Name      string  `json:"name"`
	ModelName *string `json:"model_name"`
	ModelPath *string `json:"model_path"`
	ModelURL  *string `json:"model_url"`
	Scale     float64 `json:"scale"`
}

// sdEmbedding is a textual inversion in GET /sdapi/v1/embeddings.
type sdEmbedding struct {
	Step           *int    `json:"step"`
	Checkpoint     *string `json:"sd_checkpoint"`
	CheckpointName *string `json:"sd_checkpoint_name"`
	Shape          int     `json:"shape" jsonschema:"The size of a vector, of both encoders together."`
	Vectors        int     `json:"vectors" jsonschema:"How many vectors."`
}

// sdLists are the routes that tell what there is, by the ends of their paths. Of what goxl has not, the list is empty.
func (s *Server) sdLists() map[string]func() (any, error) {
	always := func(v any) func() (any, error) { return func() (any, error) { return v, nil } }
	none := always([]string{})
	return map[string]func() (any, error){
		"samplers":             func() (any, error) { return s.sdSamplers(), nil },
		"schedulers":           func() (any, error) { return s.sdSchedulers(), nil },
		"sd-models":            func() (any, error) { return s.sdModelItems(), nil },
		"loras":                s.sdLoRAs,
		"embeddings":           func() (any, error) { return s.sdEmbeddings(), nil },
		"upscalers":            s.sdUpscalers,
		"memory":               func() (any, error) { return sdMemory(), nil },
		"cmd-flags":            always(map[string]any{"api": true, "api_server_stop": false, "nowebui": false, "lowvram": false, "medvram": false}),
		"scripts":              always(map[string][]string{"txt2img": {sdControlNet}, "img2img": {sdControlNet}}),
		"sd-vae":               none,
		"sd-modules":           none,
		"latent-upscale-modes": always(sdLatentModes),
		"prompt-styles":        none,
		"hypernetworks":        none,
		"face-restorers":       none,
		"realesrgan-models":    none,
		"script-info":          none,
		"extensions":           none,
	}
}

func (s *Server) sdModelItems() (list []sdModelItem) {
	for _, title := range s.modelNames() {
		list = append(list, sdModelItem{Title: title, Name: sdModelName(title), Filename: title})
	}
	return list
}

func (s *Server) sdLoRAs() (any, error) {
	list := []sdLoRA{}
	if s.config.LoRADir == "" {
		return list, nil
	}
	names, err := lora.Names(s.config.LoRADir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		list = append(list, sdLoRA{Name: name, Alias: name, Path: name, Metadata: map[string]any{}})
	}
	return list, nil
}

func (s *Server) sdEmbeddings() any {
	loaded := map[string]sdEmbedding{}
	for _, e := range s.config.TextualInversions {
		var item sdEmbedding
		for _, vectors := range []*sdxl.Tensor{e.L, e.G} {
			if vectors != nil {
				item.Vectors, item.Shape = max(item.Vectors, vectors.Shape[0]), item.Shape+vectors.Shape[1]
			}
		}
		loaded[e.Name] = item
	}
	return map[string]map[string]sdEmbedding{"loaded": loaded, "skipped": {}}
}

// sdMemory is the memory of the process in bytes, and of the system; A1111 says so too where it can't tell. The cards are
// in processes of their own.
func sdMemory() any {
	unknown := map[string]string{"error": "unavailable"}
	ram := any(unknown)
	if used, total, err := processMemory(); err == nil {
		ram = map[string]int64{"free": total - used, "used": used, "total": total}
	}
	return map[string]any{"ram": ram, "cuda": unknown}
}

// processMemory reads what Linux says of the process's resident memory, and of the system's.
func processMemory() (used, total int64, err error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, err
	}
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	fields, line := bytes.Fields(statm), bytes.Fields(meminfo)
	if len(fields) < 2 || len(line) < 2 || string(line[0]) != "MemTotal:" {
		return 0, 0, errors.New("another form than Linux's")
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0, 0, err
	}
	kib, err := strconv.ParseInt(string(line[1]), 10, 64)
	return pages * int64(os.Getpagesize()), kib << 10, err
}
