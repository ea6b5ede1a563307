package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn"
)

// checkReport is what check found; see the command's notes.
type checkReport struct {
	Model      string             `json:"model"`
	Version    string             `json:"version"`
	Device     string             `json:"device"`
	Detail     string             `json:"detail"`
	Kernels    string             `json:"kernels"`
	Width      int                `json:"width"`
	Height     int                `json:"height"`
	Agrees     bool               `json:"agrees"`
	Components []checkedComponent `json:"components"`
}

type checkedComponent struct {
	Component     string            `json:"component"`
	Precision     string            `json:"precision"`
	GFLOP         float64           `json:"gflop"`
	Judge         string            `json:"judge"`
	Modules       int               `json:"modules"`
	Agrees        bool              `json:"agrees"`
	First         *moduleDifference `json:"first"`
	Worst         *moduleDifference `json:"worst"`
	Overflow      *moduleDifference `json:"overflow"`
	BrokenWeights []string          `json:"broken_weights"`
}

// moduleDifference is an nn.Difference as JSON, which has no infinity.
type moduleDifference struct {
	Module    string   `json:"module"`
	Run       string   `json:"run"`
	Against   string   `json:"against"`
	NotFinite bool     `json:"not_finite"`
	RMS       *float64 `json:"rms"`
	Max       *float64 `json:"max"`
	Budget    float64  `json:"budget"`
	Share     *float64 `json:"share"`
	d         nn.Difference
}

func newModuleDifference(d *nn.Difference) *moduleDifference {
	if d == nil {
		return nil
	}
	m := &moduleDifference{Module: d.Path, Run: d.Run, Against: d.Against, NotFinite: d.NotFinite, Budget: d.Budget, d: *d}
	for _, f := range []struct {
		to   **float64
		from float64
	}{{&m.RMS, d.RMS}, {&m.Max, d.Max}, {&m.Share, d.Share}} {
		if !d.NotFinite && !math.IsInf(f.from, 0) {
			*f.to = &f.from
		}
	}
	return m
}

func newCheckReport(path string, info kernels.Info, size sdxl.Size, found []sdxl.ComponentCheck) *checkReport {
	r := &checkReport{
		Model: path, Version: cli.Version(), Device: info.Name, Detail: info.Detail, Kernels: info.Variant, Width: size.Width, Height: size.Height, Agrees: true,
	}
	for _, c := range found {
		judge := "unfused"
		if c.Gorgonia {
			judge = "gorgonia"
		}
		r.Agrees = r.Agrees && c.First == nil
		r.Components = append(r.Components, checkedComponent{
			Component: c.Component, Precision: c.Precision.String(), GFLOP: float64(c.FLOPs) / 1e9, Judge: judge, Modules: c.Modules, Agrees: c.First == nil,
			First: newModuleDifference(c.First), Worst: newModuleDifference(&c.Worst), Overflow: newModuleDifference(c.Overflow),
			BrokenWeights: append([]string{}, c.BrokenWeights...),
		})
	}
	return r
}

// differing counts the components that differ.
func (r *checkReport) differing() (n int) {
	for _, c := range r.Components {
		if !c.Agrees {
			n++
		}
	}
	return n
}

func (r *checkReport) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// print writes a table, what is to be said of it, and the verdict as the last line.
func (r *checkReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s at %dx%d on %s (%s), kernels %s\n\n", r.Model, r.Width, r.Height, r.Device, r.Detail, r.Kernels)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "component\tprecision\tmodules\tjudge\tof the budget\tverdict\tworst module")
	for _, c := range r.Components {
		verdict := "agrees"
		if !c.Agrees {
			verdict = "differs"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", c.Component, c.Precision, c.Modules, c.Judge, shareOf(c.Worst), verdict, c.Worst.Module)
	}
	t.Flush() // to w, whose errors are nobody's to act on, as elsewhere here
	fmt.Fprintln(w)
	r.printNotes(w)
	if r.Agrees {
		fmt.Fprintln(w, "all modules agree")
		return
	}
	for _, c := range r.Components {
		if c.Agrees {
			continue
		}
		fmt.Fprintf(w, "%s: the first module that differs is %s\n", c.Component, c.First.d)
		if len(c.BrokenWeights) > 0 {
			fmt.Fprintf(w, "%s: weights hold NaN or Inf: %s\n", c.Component, nn.Shorten(c.BrokenWeights))
		}
	}
}

// printNotes says what was not compared as the table seems to say.
func (r *checkReport) printNotes(w io.Writer) {
	var large []string
	for _, c := range r.Components {
		if c.Judge == "unfused" {
			large = append(large, fmt.Sprintf("%s (%.3g)", c.Component, c.GFLOP))
		}
		if c.Overflow != nil {
			fmt.Fprintf(w, "%s: NaN or Inf in fp16 (%s), first in %s; compared in %s, in which generate computes again what overflows\n",
				c.Component, c.Overflow.Run, c.Overflow.Module, c.Precision)
		}
	}
	if len(large) > 0 {
		fmt.Fprintf(w, "not on gorgonia's machine, which gets up to %v GFLOP: %s; a kernel that is wrong fused and unfused alike is not seen there\n",
			sdxl.MaxGorgoniaFLOPs/1e9, strings.Join(large, ", "))
	}
}

// shareOf shows what part of its budget a module used.
func shareOf(d *moduleDifference) string {
	switch {
	case d.NotFinite:
		return "NaN or Inf"
	case d.Share == nil:
		return "all of it"
	case *d.Share > 10:
		return fmt.Sprintf("%.3g times", *d.Share)
	}
	return fmt.Sprintf("%.1f%%", 100**d.Share)
}
