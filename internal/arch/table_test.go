package arch

// rule says what one package may import beyond the standard library, outside its tests. Values are reasons.
type rule struct {
	own     map[string]string // folders of this module
	outside map[string]string // import paths of other modules, a path covers what lies below it
}

// reasons of several packages.
const (
	contract    = "the contract with a device: dtypes, operations, errors"
	bookkeeping = "what every device and program keeps account of, whatever computes"
	modules     = "models are built of its modules"
	checkps     = "configurations and tensors of a checkpoint"
	standins    = "says what lies in place of a file"
)

// table lists every package. A package that is missing here fails the test: decide what it may know first.
var table = map[string]rule{
	"tokenizer":        {own: map[string]string{"internal/standin": standins}, outside: map[string]string{"golang.org/x/text": "NFC, as the reference's normaliser"}},
	"tokenizer/prompt": {own: map[string]string{"tokenizer": "chunks are of token ids"}},
	"scheduler":        {},

	"kernels":        {},
	"kernels/ref":    {own: map[string]string{"kernels": contract}},
	"kernels/engine": {own: map[string]string{"kernels": contract}},
	"kernels/cpu": {own: map[string]string{"kernels": contract, "kernels/engine": bookkeeping}, outside: map[string]string{
		"golang.org/x/sys/cpu":                  "which instructions there are",
		"github.com/KimMachineGun/automemlimit": "how much memory the system and the control group allow",
	}},
	"kernels/cpu/_gen": {},
	"kernels/cuda": {
		own:     map[string]string{"kernels": contract, "kernels/engine": bookkeeping, "kernels/cuda/driver": "calls the card", "kernels/ref": "the answers of the self-test"},
		outside: map[string]string{"github.com/ebitengine/purego": "its tests load an emulation of the kernels"},
	},
	"kernels/cuda/gen":               {},
	"kernels/cuda/driver":            {outside: map[string]string{"github.com/ebitengine/purego": "finds libcuda at run time, without cgo"}},
	"kernels/cuda/driver/drivertest": {own: map[string]string{"kernels/cuda/driver": "stands in for libcuda in tests"}},
	"kernels/cases": {own: map[string]string{
		"kernels":     contract,
		"kernels/ref": "the tensors that the oracle takes",
	}},
	"kernels/kerneltest": {own: map[string]string{
		"kernels":       contract,
		"kernels/cases": "the table that a device is checked against",
		"kernels/ref":   "the oracle that a device is compared with",
	}},
	"kernels/kernelbench": {own: map[string]string{
		"kernels":       contract,
		"kernels/cases": "the table whose real shapes are timed",
	}},

	"nn": {
		own: map[string]string{
			"kernels":     contract,
			"kernels/ref": "runs an operation on gorgonia's own machine",
		},
		outside: map[string]string{
			"gorgonia.org/gorgonia": "the graph",
			"gorgonia.org/tensor":   "shapes, dtypes and values of the graph",
			"github.com/chewxy/hm":  "the type of a gorgonia operation",
		},
	},
	"nn/weights": {
		own: map[string]string{"kernels": contract, "internal/standin": standins, "nn/weights/pickle": "files of torch.save"},
		outside: map[string]string{
			"golang.org/x/sys/unix": "maps files",
		},
	},
	"nn/weights/lora": {own: map[string]string{
		"kernels":               contract,
		"nn/weights":            "files of adapters, and what is wrong with them",
		"nn/weights/singlefile": "the original names of a UNet's modules, which most files use",
	}},
	"nn/weights/singlefile": {own: map[string]string{"kernels": contract, "nn/weights": "the file, and what kind it is of"}},
	"nn/weights/pickle":     {},
	"nn/weights/hub": {
		own:     map[string]string{"kernels": "sizes in words", "nn/weights": "which files of a model are read"},
		outside: map[string]string{"golang.org/x/sys/unix": "locks files as the Python client does, and asks for free space"},
	},
	"nn/weights/embedding": {own: map[string]string{"kernels": contract, "nn/weights": "reads files"}},

	"models/clip":       {own: map[string]string{"kernels": contract, "nn": modules, "nn/weights": checkps, "internal/resample": "images as encoders take them"}},
	"models/ipadapter":  {own: map[string]string{"kernels": contract, "nn": modules, "nn/weights": checkps}},
	"models/unet":       {own: map[string]string{"kernels": contract, "nn": modules, "nn/weights": checkps}},
	"models/t2iadapter": {own: map[string]string{"kernels": contract, "nn": modules, "nn/weights": checkps}},
	"models/vae":        {own: map[string]string{"kernels": contract, "nn": modules, "nn/weights": checkps}},
	"models/taesd": {own: map[string]string{
		"kernels":    contract,
		"models/vae": "images and latents, and how an image becomes pixels",
		"nn":         modules,
		"nn/weights": checkps,
	}},
	"models/controlnet": {own: map[string]string{
		"kernels":               contract,
		"models/unet":           "a ControlNet is the way down and the middle of a UNet",
		"nn":                    modules,
		"nn/weights":            checkps,
		"nn/weights/singlefile": "the original names of a UNet's modules",
	}},
	"models/controlnet/preprocess": {},
	"models/esrgan":                {own: map[string]string{"kernels": contract, "nn": modules, "nn/weights": checkps}},
	"models/demo":                  {},
	"models/sdxl": {own: map[string]string{
		"kernels":    contract,
		"nn":         modules,
		"nn/weights": checkps,

		"nn/weights/hub":               "finds models by their names in the hub's cache",
		"nn/weights/embedding":         "embeddings that an adapter's file brings along",
		"nn/weights/lora":              "adapters",
		"nn/weights/singlefile":        "models in one file",
		"models/clip":                  "a part of the model, and encoders of image prompts",
		"models/ipadapter":             "image prompts",
		"models/controlnet":            "steers the UNet by an image",
		"models/controlnet/preprocess": "makes control images",
		"models/t2iadapter":            "steers the UNet by an image",
		"models/esrgan":                "enlarges what the first pass of hires gives",
		"models/taesd":                 "decodes in the VAE's place",
		"models/unet":                  "a part of the model",
		"models/vae":                   "a part of the model",
		"scheduler":                    "a part of the model",
		"tokenizer":                    "a part of the model",

		"tokenizer/prompt": "reads prompts",

		"internal/contexts": "a batch goes on while anybody waits for one of its requests",
		"internal/resample": "an image whose sides the VAE can't have is resized as by Pillow",
		"internal/standin":  standins,
	}},

	"job":      {outside: map[string]string{"go.etcd.io/bbolt": "the journal: ordered keys, one writer, each transaction synced"}},
	"job/blob": {outside: map[string]string{"github.com/google/uuid": "ids of images"}},
	"job/remote": {
		own: map[string]string{
			"internal/imagefile": "decodes the images that jobs begin with",
			"job":                "what goes to workers",
			"job/blob":           "the images that come back",
			"models/sdxl":        "the largest image",
			"worker":             "whose source of jobs it is",
		},
		outside: map[string]string{
			"github.com/nats-io/nats.go":        "carries jobs between processes and machines",
			"github.com/nats-io/nats-server/v2": "NATS in the server's process, for who has none",
			"golang.org/x/sys/unix":             "tells a file system in memory",
		},
	},
	"worker": {own: map[string]string{
		"internal/imagefile": "PNG files with the parameters of a run",
		"internal/resample":  "previews no larger than a page shows them",
		"job":                "what it computes",
		"job/blob":           "types and errors of images that are kept",
		"kernels":            "distinguishes too little memory from other errors",
		"models/sdxl":        "requests, and the errors of them",
		"nn/weights/lora":    "strengths of adapters in a stored request",
		"server/engine":      "what computes a job",
	}},
	"server": {
		own: map[string]string{
			"job":                          "how work travels",
			"job/blob":                     "the folder of images",
			"internal/reload":              "reads files of tokens and certificates again",
			"server/auth":                  "who may use it",
			"models/sdxl":                  "requests and the parameters that they resolve to",
			"models/controlnet":            "the kinds of a union's images, which a request names",
			"models/controlnet/preprocess": "makes control images, and checks their names",
			"nn/weights":                   "tells what the files are that a request may name",
			"worker":                       "what computes",
			"nn/weights/lora":              "names and strengths of adapters",
			"server/engine":                "what it serves",
			"server/openapi":               "the form of the document by which it describes itself, and its page",
			"server/page":                  "the web page",
			"internal/imagefile":           "PNG files with the parameters of a run",
			"internal/resample":            "A1111's ways to resize, and thumbnails",
			"scheduler":                    "names of samplers, A1111's and ComfyUI's too",
			"tokenizer/prompt":             "names of prompt styles",
		},
		outside: map[string]string{
			"github.com/google/jsonschema-go":     "schemas of what it takes and answers, in the OpenAPI document",
			"github.com/prometheus/client_golang": "metrics, in the form that Prometheus reads",
			"go.opentelemetry.io/otel":            "spans of requests and jobs: the API alone",
		},
	},
	"server/auth": {
		own:     map[string]string{"job": "bounds of the priority of a user's jobs"},
		outside: map[string]string{"golang.org/x/time/rate": "how often an address may come with a wrong token"},
	},
	"server/engine": {own: map[string]string{
		"kernels":           "memory of a device",
		"models/sdxl":       "what computes a job",
		"internal/contexts": "a model is opened for a batch while anybody waits for one of its jobs",
	}},
	"server/openapi": {outside: map[string]string{"github.com/google/jsonschema-go": "schemas of Go types, in JSON Schema's form"}},
	"server/page":    {},
	"server/process": {own: map[string]string{
		"kernels":       "describes the device of the other process",
		"models/sdxl":   "what goes between the processes",
		"server/engine": "what runs in the other process",
	}},
	"cmd/server": {own: map[string]string{
		"internal/cli":   "flags of both commands",
		"models/sdxl":    "opens the models",
		"scheduler":      "names of schedulers that a request may have",
		"job":            "bounds of priorities, and jobs that a worker refuses",
		"job/remote":     "workers in other processes",
		"worker":         "what a worker of other processes runs",
		"server":         "what it runs",
		"server/auth":    "makes tokens",
		"server/engine":  "computes on a device of this process",
		"server/process": "keeps cards in processes of their own",
		"kernels":        "describes devices",
		"kernels/cpu":    "how much memory the system has for models",
		"nn/weights":     "which files in a folder are models",

		"tokenizer/prompt": "names of prompt styles",
	}, outside: map[string]string{
		"go.opentelemetry.io/otel": "sends spans, in a build with -tags otel",
	}},
	"cmd/goxl": {
		own: map[string]string{
			"internal/cli":                 "flags of both commands",
			"internal/imagefile":           "PNG files with generation parameters",
			"kernels":                      "bench and inspect speak of operations and dtypes",
			"kernels/cpu":                  "bench names the variants of the CPU",
			"kernels/kernelbench":          "bench times the kernels",
			"models/clip":                  "bench builds a single model",
			"models/controlnet/preprocess": "names of preprocessors",
			"models/esrgan":                "upscale",
			"models/sdxl":                  "what it runs",
			"models/unet":                  "bench builds a single model",
			"models/vae":                   "bench builds a single model",
			"nn":                           "bench times a compiled program",
			"nn/weights":                   "inspect, synth, and files of latents",

			"nn/weights/hub":        "pull, and inspect by name",
			"nn/weights/lora":       "names and strengths of adapters",
			"nn/weights/singlefile": "inspect looks into checkpoints in one file",

			"scheduler": "names of samplers",
			"tokenizer": "bench counts tokens",

			"tokenizer/prompt": "names of prompt styles",
		},
		outside: map[string]string{
			"github.com/schollz/progressbar/v3": "progress on a terminal",
			"golang.org/x/term":                 "is it a terminal",
		},
	},

	"tools/deploy": {outside: map[string]string{ // a module of its own
		"github.com/compose-spec/compose-go/v2": "reads Compose files",
		"github.com/moby/buildkit":              "reads Dockerfiles",
		"github.com/prometheus/prometheus":      "reads rules and queries",
		"k8s.io/api":                            "types of manifests",
		"sigs.k8s.io/kustomize/api":             "builds manifests",
		"sigs.k8s.io/kustomize/kyaml":           "builds manifests",
		"sigs.k8s.io/yaml":                      "reads manifests strictly",
	}},
	"tools/reliability": {
		own: map[string]string{
			"internal/imagefile": "the parameters that images say of themselves, and files to upload",
			"job":                "journals that it damages and reads",
			"job/blob":           "ids that nobody has",
		},
		outside: map[string]string{"golang.org/x/image": "decodes WebP files without the code under test"},
	},
	"tools/reliability/nats": {own: map[string]string{
		"job/remote":    "what is proved",
		"models/sdxl":   "results of an engine that only sleeps",
		"server/engine": "an engine that only sleeps",
		"worker":        "the pool of a worker",
	}},

	"internal/arch": {},
	"internal/cli": {own: map[string]string{
		"kernels":        "hands a device down",
		"kernels/cpu":    "opens the CPU for both commands",
		"kernels/cuda":   "opens cards for both commands",
		"models/demo":    "the model that both commands have built in",
		"models/sdxl":    "opens models for both commands",
		"nn/weights":     "which weights to download",
		"nn/weights/hub": "downloads models that are named",

		"nn/weights/embedding": "files of textual inversions, for both commands",
	}},
	"internal/contexts": {},
	"internal/golden":   {outside: map[string]string{"github.com/nlpodyssey/safetensors": "reads reference outputs without the code under test"}},
	"internal/reload":   {},
	"internal/require":  {},
	"internal/tinyunet": {own: map[string]string{
		"internal/golden": "diffusers' output",
		"kernels":         contract,
		"models/unet":     "the model",
		"nn":              modules,
		"nn/weights":      checkps,
	}},
	"internal/resample": {},
	"internal/standin":  {},
	"internal/imagefile": {
		own: map[string]string{"models/sdxl": "the parameters that an image file says of itself"},
		outside: map[string]string{
			"golang.org/x/image":        "decodes the frames of WebP files",
			"github.com/deepteams/webp": "encodes WebP files",
		},
	},
}
