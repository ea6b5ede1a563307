package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goxl/goxl/internal/standin"
)

var hubName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Recognise detects what a path holds, by names, headers and small JSON files alone. What it does not know is
// UnknownForm and no error; an error is a path that does not exist, cannot be read or holds a damaged file.
func Recognise(path string) (Kind, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && hubName.MatchString(path):
		return Kind{Form: HubName}, nil
	case err != nil:
		return Kind{}, err
	case info.IsDir():
		dir, err := snapshot(path)
		if err != nil {
			return Kind{}, err
		}
		return recogniseFolder(dir)
	case !info.Mode().IsRegular():
		return Kind{Detail: notRegular(info.Mode())}, nil
	}
	return recogniseFile(path)
}

func recogniseFile(path string) (Kind, error) {
	f, err := os.Open(path)
	if err != nil {
		return Kind{}, err
	}
	head := make([]byte, standin.Head)
	n, err := io.ReadFull(f, head)
	f.Close()
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return Kind{}, err
	}
	head = head[:n]
	if what := standin.Describe(head); what != "" {
		return Kind{Detail: what}, nil
	}
	switch ext := strings.ToLower(filepath.Ext(path)); {
	case ext == ".safetensors", isPickle(head):
	case bytes.HasPrefix(head, []byte("GGUF")):
		return Kind{Detail: "a GGUF file"}, nil
	case filepath.Base(path) == indexFile:
		return Kind{Detail: "the index of a model folder: give the folder"}, nil
	case IsShardIndex(path):
		return recogniseShards(path)
	case ext == ".onnx":
		return Kind{Detail: "an ONNX file"}, nil
	case !startsObject(head):
		return Kind{Detail: "not a safetensors file or pickle of PyTorch"}, nil
	}
	file, err := Open(path)
	if err != nil {
		return Kind{}, err
	}
	defer file.Close()
	return RecogniseTensors(file), nil
}

// IsShardIndex reports whether a file has the name of an index of shards, such as model.safetensors.index.json or
// model.safetensors.index.fp16.json.
func IsShardIndex(path string) bool {
	return strings.HasSuffix(path, ".json") && strings.Contains(filepath.Base(path), ".index.")
}

// recogniseShards detects what the shards of an index are together.
func recogniseShards(index string) (Kind, error) {
	shards, err := openShards(index)
	if err != nil {
		return Kind{}, err
	}
	defer shards.Close()
	k := RecogniseTensors(shards)
	if k.Detail != "" {
		k.Detail += ", "
	}
	k.Detail += fmt.Sprintf("%d shards by their index", len(shards.files))
	return k, nil
}

func recogniseFolder(dir string) (Kind, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Kind{}, err
	}
	names := map[string]bool{}
	single := ""
	for _, e := range entries {
		names[e.Name()] = true
		if isWeightName(e.Name()) && !strings.HasSuffix(e.Name(), ".json") {
			single = e.Name()
		}
	}
	switch {
	case names[indexFile]:
		return recogniseIndex(dir)
	case names["config.json"]:
		return recogniseConfig(filepath.Join(dir, "config.json"))
	case len(entries) == 0:
		return Kind{Detail: "an empty folder"}, nil
	case names["unet"] || names["vae"]:
		return Kind{Detail: "a folder with components but no " + indexFile + ", perhaps half downloaded"}, nil
	case single != "":
		return Kind{Detail: "a folder around the file " + single}, nil
	}
	return Kind{Detail: "a folder without " + indexFile}, nil
}

// recogniseIndex detects the family by the pipeline's class, and by the components where families share a class: a
// refiner lacks the first text encoder.
func recogniseIndex(dir string) (Kind, error) {
	file := filepath.Join(dir, indexFile)
	data, err := readSmall(file)
	if err != nil {
		return Kind{}, err
	}
	index, err := ParseIndex(data, file)
	if err != nil {
		return Kind{}, err
	}
	k := Kind{Form: ModelFolder, Detail: index.Class}
	_, hasControl := index.Components["controlnet"]
	switch c := index.Class; {
	case hasControl:
		k.Family = ControlNet
	case strings.HasPrefix(c, "StableDiffusionXL"):
		k.Family = SDXLBase
		var unet struct {
			InChannels int `json:"in_channels"`
		}
		if data, err := readSmall(filepath.Join(dir, "unet", "config.json")); err == nil {
			_ = json.Unmarshal(data, &unet) // loading reports a damaged config
		}
		switch {
		case index.Components["text_encoder"] == Class{}:
			k.Family = SDXLRefiner
		case unet.InChannels == 9:
			k.Family = SDXLInpainting
		case strings.HasPrefix(index.Components["scheduler"].Name, "EDM"):
			k.Family = Playground25
		}
	case strings.HasPrefix(c, "StableDiffusion3"):
		k.Family = SD3
	case strings.HasPrefix(c, "Flux"):
		k.Family = Flux
	case c == "StableDiffusionPipeline", c == "StableDiffusionImg2ImgPipeline", c == "StableDiffusionInpaintPipeline":
		k.Family = StableDiffusion
	}
	return k, nil
}

// recogniseConfig detects the family by the class in a component's config.json.
func recogniseConfig(file string) (Kind, error) {
	data, err := readSmall(file)
	if err != nil {
		return Kind{}, err
	}
	if _, err := parseObject(data, file); err != nil {
		return Kind{}, err
	}
	var config struct {
		Class         string   `json:"_class_name"`
		Architectures []string `json:"architectures"`
		Hidden        int      `json:"hidden_size"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return Kind{}, &ConfigError{File: file, Allowed: fmt.Sprintf("not a component's configuration: %v", err)}
	}
	class := config.Class
	if class == "" && len(config.Architectures) > 0 {
		class = config.Architectures[0]
	}
	if class == "" {
		return Kind{Detail: "a folder with a config.json that names no class"}, nil
	}
	k := Kind{Form: ComponentForm, Detail: class}
	switch {
	case class == "UNet2DConditionModel":
		k.Family = UNet
	case class == "AutoencoderKL":
		k.Family = VAE
	case class == "AutoencoderTiny":
		k.Family = TAESD
	case strings.HasPrefix(class, "ControlNet"):
		k.Family = ControlNet
	case class == "CLIPVisionModelWithProjection":
		k.Family = ImageEncoder
	case class == "T2IAdapter":
		k.Family = T2IAdapter
	case strings.HasPrefix(class, "CLIPText") && config.Hidden == 768:
		k.Family = TextEncoderL
	case strings.HasPrefix(class, "CLIPText") && config.Hidden == 1280:
		k.Family = TextEncoderG
	}
	return k, nil
}
