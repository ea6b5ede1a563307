package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

var benchCommand = command{
	name: "bench", summary: "measure speed: of kernels, of a denoising step, of images, alone and together, of swapping adapters", synopsis: "kernels|step|image|batch|swap|upscale [flags]",
	notes: `    kernels  every operation at the model's real shapes
    step     one denoising step with guidance, and on a CPU which operations take its time
    image    whole images by stage, from the request to the bytes of a PNG file
    batch    whole images whose steps are computed together, as the server does with -batch, in batches
             of 1, 2, 4 and so on up to -batch, and whether they are the same as alone
    swap     one set of LoRA adapters in the place of another, merged into every linear layer and
             convolution of the UNet and the text encoders; of a folder (goxl synth writes one),
             since a synth: model computes its weights anew each time
    upscale  an image enlarged by an ESRGAN model: synth:esrgan without -model

The column peak is the fraction of this machine's peak, which is measured before anything else: on a
CPU multiply-adds in registers on every thread, on a card products of its matrix units. On a card
an operation runs many times between 16-bit temporaries, as in models; on a CPU it runs between
float32 operands. All data is random. Times are in the unit that a field's name ends in, rates in
GFLOP/s and GB/s, fractions from 0 to 1.

-json writes one object. Every one has
    machine   version, device, detail, kernels, precision, peak_gflops (0: can't be measured)
kernels has figures, an array of
    name, shape (of the inputs), runs, min_ms, ms (median), gflops, gb_s, peak
step, image, batch and swap have
    model, parameters, width, height, guidance, device_s, opened_s, memory_bytes (resident at
    most, of the process), and
    device_memory: limit_bytes, used_bytes, peak_bytes, arena_bytes: on a CPU of what -memory
    limits
step has as well
    prepared_s, first_step_s, load_s (from nothing to the end of the first step), steps_together
    (how many are timed as one, right behind one another: 10 on a card), steps_s (means of those),
    step_s (median), least_step_s, gflop (of the UNet: -control takes more), gflops, peak, and
    ops, an array of
    op, calls, ms, fraction, gflop, gflops, peak
upscale has
    model, network, width, height, tiles, opened_s, first_s (programs are compiled), upscales_s,
    upscale_s (median), gflop (of the whole image; tiles compute a little more), gflops, peak
swap has as well
    rank, tensors, weights_bytes (of the tensors that change), factors_bytes, first_swap_s (from
    no adapters; a card keeps what the others read, where it has room), swaps_s (all others),
    swap_s (median of those), back_s (to no adapters), reload_s (loading the same components; 0 on
    a CPU)
batch has as well
    steps, and batches, an array of
    size, jobs, image_s, images_per_s, speedup (over one alone), equal (images that are bit for bit
    those alone), largest_difference (of a value, of 255)
image has as well
    steps, first_s, images_s (all after the first), image_s (median), png_bytes, total_s,
    and stages of the median image, an array of
    stage, s, gflop (0: the device doesn't report it), gflops, peak`,
	operand: "what to measure: kernels, step, image, batch, swap or upscale",
	define: func(fs *flag.FlagSet) action {
		b := &bench{flags: fs, sizes: []int{512, 1024}}
		fs.StringVar(&b.model, "model", "synth:base", fmt.Sprintf(modelUsage, "synth:base, synth:tiny, synth:refiner or synth:tiny-refiner", " (not of kernels; a refiner runs image-to-image on a black image; kernels have SDXL's shapes whatever it is)"))
		fs.StringVar(&b.modelVariant, "variant", "", variantUsage+" (not of kernels)")
		fs.IntVar(&b.width, "width", 512, "`pixels`, a multiple of 8 (not of kernels and batch)")
		fs.IntVar(&b.height, "height", 512, "`pixels`, a multiple of 8 (not of kernels and batch)")
		fs.IntVar(&b.largest, "batch", defaultBatch, "`number` of images to make, and of the largest batch of them, 2 to 64 (batch)")
		fs.Func("sizes", "`pixels` of a side, multiples of 8 with commas between them; 512,1024 without it (batch)", b.setSizes)
		fs.Float64Var(&b.guidance, "guidance", 5, "guidance `scale`; at 1 and below a step has one sample, as of few-step models (not of kernels)")
		fs.Func("ip-adapter", "an image prompt of one grey image by an IP-Adapter, whose encoder lies beside it as in h94/IP-Adapter: `FILE[:SCALE]`; goxl synth -kind ip-adapter writes some (not of kernels)", b.setImagePrompt)
		fs.IntVar(&b.runs, "runs", 0, fmt.Sprintf("`number` of steps to time after a first one (step; 0 is %d; a card takes more than ten in tens, rounded up), of images to make, the first of which is reported apart (image; 0 is 1), or of swaps (swap; 0 is %d) or images after a first one (upscale; 0 is %d)", defaultSteps, defaultSwaps, defaultUpscales))
		fs.IntVar(&b.steps, "steps", 0, fmt.Sprintf("`number` of steps of an image (image and batch; 0 is %d)", defaultImageSteps))
		fs.IntVar(&b.rank, "rank", defaultRank, "`rank` of the adapters, 1 to 1024 (swap)")
		fs.Func("control", "evaluate a ControlNet in every step, `PATH[:SCALE]` as of generate, on an image of stripes; may be repeated (step or image)", b.addControl)
		fs.StringVar(&b.filter, "run", "", "only the operations whose name a regular `expression` matches (kernels)")
		fs.BoolVar(&b.json, "json", false, "write JSON in place of a table")
		fs.StringVar(&b.device.Kernels, "kernels", "", "the device's `kernels`, of which each machine has some: avx512, avx2 or portable of a CPU, sm_90a or sm_80 of a card; without it, the best")
		b.device.Register(fs)
		return b.run
	},
}

// bench is the flags of bench, and what it measures with.
type bench struct {
	flags               *flag.FlagSet
	model, modelVariant string
	width, height       int
	guidance            float64
	steps, runs, rank   int
	largest             int   // -batch
	sizes               []int // -sizes
	controls            []sdxl.Control
	filter              string
	json                bool
	imagePrompts        []sdxl.IPAdapter // -ip-adapter
	device              cli.DeviceFlags

	streams   // of which out takes the table
	on        kernels.Device
	precision kernels.DType
	// deviceOpened is how long opening the device took.
	deviceOpened time.Duration
	machine      machine
	trace        tracer
}

// machine says what figures were measured on, and by what.
type machine struct {
	Version   string  `json:"version"`
	Device    string  `json:"device"`
	Detail    string  `json:"detail"`
	Kernels   string  `json:"kernels"`
	Precision string  `json:"precision"`
	Peak      float64 `json:"peak_gflops"` // measured; 0 if the device can't
}

// fraction is a rate in GFLOP/s as a fraction of the peak; 0 where there is no peak.
func (m machine) fraction(gflops float64) float64 {
	if m.Peak == 0 {
		return 0
	}
	return gflops / m.Peak
}

// kinds lists what -variant and so on apply to; the other flags apply to everything.
var kinds = map[string]string{
	"variant": models, "width": single, "height": single, "guidance": models, "steps": "image or batch", "runs": single, "rank": "swap", "run": "kernels",
	"batch": "batch", "sizes": "batch", "ip-adapter": models, "control": "step or image",
}

// models are what is measured with a model, single those of one size and without a batch.
const (
	models = "step, image, batch or swap"
	single = "step, image, swap or upscale"
)

// setSizes reads -sizes.
func (b *bench) setSizes(list string) error {
	b.sizes = nil
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 8 || n > sdxl.MaxSide || n%8 != 0 {
			return fmt.Errorf("%q: must be a multiple of 8 from 8 to %d", text, sdxl.MaxSide)
		}
		b.sizes = append(b.sizes, n)
	}
	return nil
}

func (b *bench) run(ctx context.Context, s streams, what string) (err error) {
	measure, ok := map[string]func(context.Context) (any, error){"kernels": b.kernels, "step": b.step, "image": b.image, "batch": b.batch, "swap": b.swap, "upscale": b.upscale}[what]
	if !ok {
		return cli.Usagef("%q can't be measured: must be kernels, step, image, batch, swap or upscale", what)
	}
	b.flags.Visit(func(f *flag.Flag) {
		if k := kinds[f.Name]; k != "" && !strings.Contains(k, what) {
			err = cli.Usagef("-%s has no meaning for %s: it is for %s", f.Name, what, k)
		}
	})
	switch {
	case err != nil:
		return err
	case b.steps < 0:
		return cli.Usagef("-steps %d: must be 0 or more", b.steps)
	case b.runs < 0:
		return cli.Usagef("-runs %d: must be 0 or more", b.runs)
	case b.largest < 2 || b.largest > sdxl.MaxCount:
		return cli.Usagef("-batch %d: must be 2 to %d", b.largest, sdxl.MaxCount)
	case b.rank < 1 || b.rank > 1024:
		return cli.Usagef("-rank %d: must be 1 to 1024", b.rank)
	case !(b.guidance >= 0 && b.guidance <= 1000):
		return cli.Usagef("-guidance %v: must be 0 to 1000", b.guidance)
	case b.width < 8 || b.width > sdxl.MaxSide || b.width%8 != 0:
		return cli.Usagef("-width %d: must be a multiple of 8 from 8 to %d", b.width, sdxl.MaxSide)
	case b.height < 8 || b.height > sdxl.MaxSide || b.height%8 != 0:
		return cli.Usagef("-height %d: must be a multiple of 8 from 8 to %d", b.height, sdxl.MaxSide)
	case b.model == "":
		return cli.Usagef(`-model "": must be demo, a DIR, or synth: and one of %s`, strings.Join(sdxl.SyntheticNames(), ", "))
	}
	if _, err := regexp.Compile(b.filter); err != nil {
		return cli.Usagef("-run %q: must be a regular expression: %v", b.filter, err)
	}
	if what != "kernels" && what != "upscale" {
		b.device.CPU.Trace = b.trace.add
	}
	start := time.Now()
	if b.on, b.precision, err = b.device.Open(func(line string) { fmt.Fprintln(s.err, line) }); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.on.Close()) }()
	b.deviceOpened = time.Since(start)
	if err := b.look(ctx); err != nil {
		return err
	}
	if b.streams = s; b.json {
		b.out = io.Discard
	}
	fmt.Fprintf(b.out, "%s (%s), %s", b.machine.Device, b.machine.Detail, b.machine.Precision)
	if b.machine.Peak > 0 {
		fmt.Fprintf(b.out, ", peak %.0f GFLOP/s", b.machine.Peak)
	}
	fmt.Fprintln(b.out)
	figures, err := measure(ctx)
	if err != nil || !b.json {
		return asUsage(err, false)
	}
	e := json.NewEncoder(s.out)
	e.SetIndent("", "  ")
	return e.Encode(figures)
}

// look describes the machine and measures its peak, where the device can.
func (b *bench) look(ctx context.Context) error {
	info := b.on.Info()
	b.machine = machine{Version: cli.Version(), Device: info.Name, Detail: info.Detail, Kernels: info.Variant, Precision: b.precision.String()}
	if b.precision == 0 {
		b.machine.Precision = info.Precisions[0].String()
	}
	peak, err := b.on.PeakFLOPS(ctx)
	b.machine.Peak = peak / 1e9
	return err
}

// percent formats a fraction.
func percent(fraction float64) string {
	if fraction == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*fraction)
}
