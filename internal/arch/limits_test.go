package arch

// testOutside is what tests may import of other modules, beyond what their package may.
var testOutside = map[string]string{
	"github.com/google/go-cmp": "differences one can read",
	"github.com/chromedp":      "drives Chromium in the tests of the page",

	"github.com/nats-io/jwt/v2": "accounts and users of a NATS that asks for credentials",
	"github.com/nats-io/nkeys":  "keys of users of NATS",
}

// only names who alone may import a path outside its tests, whatever the table says: the boundaries between layers.
var only = map[string][]string{
	"gorgonia.org/gorgonia":               {"nn"},
	"gorgonia.org/tensor":                 {"nn"},
	modulePath + "/kernels/cpu":           {"cmd/goxl", "cmd/server", "internal/cli"},
	modulePath + "/kernels/cuda":          {"internal/cli", "kernels/cuda", "kernels/cuda/driver/drivertest"},
	modulePath + "/models/demo":           {"internal/cli"},
	modulePath + "/server":                {"cmd/server", "server", "server/process", "tools/reliability/nats", "worker"},
	modulePath + "/server/process":        {"cmd/server"},
	"github.com/google/uuid":              {"job/blob", "server"},
	"github.com/nats-io/nats.go":          {"job/remote"},
	"github.com/nats-io/nats-server/v2":   {"job/remote"},
	"go.etcd.io/bbolt":                    {"job"},
	"github.com/deepteams/webp":           {"internal/imagefile"},
	"github.com/prometheus/client_golang": {"server"},
	"go.opentelemetry.io/otel/sdk":        {"cmd/server"},
	"go.opentelemetry.io/otel/exporters":  {"cmd/server"},
	modulePath + "/internal/golden":       {"internal/tinyunet"},
	modulePath + "/internal/require":      {},
	modulePath + "/internal/tinyunet":     {},
	modulePath + "/kernels/cases":         {"kernels/kernelbench", "kernels/kerneltest"},
	modulePath + "/kernels/kerneltest":    {},
	modulePath + "/kernels/kernelbench":   {"cmd/goxl"},
}

// longFiles may exceed maxLines. Generated files may anyway.
var longFiles = map[string]string{
	"kernels/cpu/vecmath_avx2_amd64.s":   "one loop after another, each short; they share constants",
	"kernels/cpu/vecmath_avx512_amd64.s": "one loop after another, each short; they share constants",
	"tools/reference/scheduler.py":       "writes all that package scheduler is tested against",
	"tools/reference/tokenizer.py":       "writes all that package tokenizer is tested against",
}
