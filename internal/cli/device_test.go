package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda"
)

// opened is what flags open, closed again, and the warnings.
func opened(t *testing.T, args string) (info kernels.Info, precision kernels.DType, warned []string, err error) {
	t.Helper()
	fs, d := flags(&bytes.Buffer{})
	if err := Parse(fs, strings.Fields(args)); err != nil {
		t.Fatal(err)
	}
	device, precision, err := d.Open(func(line string) { warned = append(warned, line) })
	if err != nil {
		return kernels.Info{}, 0, warned, err
	}
	info = device.Info()
	if err := device.Close(); err != nil {
		t.Error(err)
	}
	return info, precision, warned, nil
}

// Whatever the machine has: the CPU, and names of no device.
func TestDevice(t *testing.T) {
	for _, c := range []struct {
		args  string
		usage bool
		says  string // the error; "" is success
	}{
		{"-device cpu", false, ""},
		{"-device cpu -precision fp32 -threads 1", false, ""},
		{"-precision fp32", false, ""},
		{"-device cuda:x", true, `-device "cuda:x": must be auto, cpu, cuda or cuda:N`},
		{"-device cuda:-1", true, "cuda:N"},
		{"-device cuda:", true, "cuda:N"},
		{"-device gpu", true, `-device "gpu": must be auto, cpu, cuda or cuda:N`},
		{"-device=", true, `-device ""`},
		{"-precision int8", true, `-precision "int8": must be auto, fp32, bf16 or fp16`},
		{"-device cpu -precision fp16", false, "precision fp16 is not there on cpu: it has fp32"},
		{"-threads -1", true, "-threads -1: must be 0 or more"},
		{"-device cuda -threads 2", true, "-threads 2: has no meaning for -device cuda: it is for cpu"},
		{"-device cpu -memory 2GiB", false, ""},
		{"-device cuda -memory 2GiB", true, "-memory 2GiB: has no meaning for -device cuda: it is for cpu, -gpu-memory is for cuda"},
		{"-device cpu -gpu-memory 11GiB", true, "-gpu-memory 11GiB: has no meaning for -device cpu: it is for cuda"},
		{"-device cuda:65536", true, "cuda:N"},
		{"-device cuda:all", true, `-device "cuda:all": must be auto, cpu, cuda or cuda:N`},
	} {
		info, precision, _, err := opened(t, c.args)
		if err == nil {
			if info.Name != "cpu" {
				t.Errorf("%q: opened %s", c.args, info.Name)
			}
			if want := strings.Contains(c.args, "fp32"); (precision == kernels.F32) != want {
				t.Errorf("%q: precision %v", c.args, precision)
			}
		}
		var usage *UsageError
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) || errors.As(err, &usage) != c.usage {
			t.Errorf("%q: %v (usage error: %v), want %q (%v)", c.args, err, usage != nil, c.says, c.usage)
		}
	}
}

// With a card, auto and cuda are the card. Without one, auto is the cpu and says why, and cuda fails for the same reason.
func TestDeviceHere(t *testing.T) {
	why := cuda.Available()
	if why == nil {
		for _, args := range []string{"", "-device cuda", "-device cuda:0 -gpu-memory 2GiB -precision bf16"} {
			info, precision, warned, err := opened(t, args)
			if err != nil || info.Name != "cuda:0" || len(warned) > 0 || (precision == kernels.BF16) != strings.Contains(args, "bf16") {
				t.Errorf("%q: %s with precision %v, said %q, %v", args, info.Name, precision, warned, err)
			}
		}
		if _, _, _, err := opened(t, "-device cuda -precision fp32"); err == nil || !strings.Contains(err.Error(), "it has fp16, bf16") {
			t.Errorf("fp32 on a card: %v", err)
		}
		if _, _, _, err := opened(t, "-device cuda:999"); err == nil || !strings.Contains(err.Error(), "device is 999") {
			t.Errorf("card 999: %v", err)
		}
	} else {
		t.Log(why)
		for _, args := range []string{"", "-threads 1", "-gpu-memory 11GiB"} {
			info, _, warned, err := opened(t, args)
			if err != nil || info.Name != "cpu" || len(warned) != 1 || warned[0] != "computing on the cpu: "+why.Error() {
				t.Errorf("%q: %s, said %q, %v", args, info.Name, warned, err)
			}
		}
		for _, args := range []string{"-device cuda", "-device cuda:3", "-device cuda -gpu-memory 11GiB"} {
			if _, _, warned, err := opened(t, args); err == nil || err.Error() != why.Error() || len(warned) > 0 {
				t.Errorf("%q: said %q, %v", args, warned, err)
			}
		}
		if _, _, _, err := opened(t, "-precision fp16"); err == nil || !strings.Contains(err.Error(), "not there on cpu") || !strings.Contains(err.Error(), why.Error()) {
			t.Errorf("fp16 without a card: %v", err)
		}
	}
	_, _, warned, err := opened(t, "-precision fp32")
	if err != nil || len(warned) != 1 || !strings.Contains(warned[0], "fp32 is the cpu's") {
		t.Errorf("fp32: said %q, %v", warned, err)
	}
}

// wrongCard is a card that fails its self-test, or, if right, passes it. It counts what is done with it.
type wrongCard struct {
	kernels.Device
	right          bool
	checks, closed int
}

func (c *wrongCard) Info() kernels.Info {
	return kernels.Info{Name: "cuda:0", Precisions: []kernels.DType{kernels.F16, kernels.BF16}}
}

func (c *wrongCard) SelfCheck(context.Context) error {
	c.checks++
	if c.right {
		return nil
	}
	return errors.New("cuda:0 (X) failed its self-check: linear layer")
}

func (c *wrongCard) Close() error {
	c.closed++
	return nil
}

// A card that is there and can't be opened, taken by another process for instance, does not keep the CPU from generating unless it was asked for.
func TestDeviceNotOpened(t *testing.T) {
	taken := errors.New("cuda:0 is taken")
	for args, want := range map[string]string{"": "", "-device cuda": "cuda:0 is taken"} {
		fs, d := flags(&bytes.Buffer{})
		if err := Parse(fs, strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		var warned string
		device, _, err := d.openWith(nil, func() (selfTested, error) { return nil, taken }, func(line string) { warned += line })
		if want != "" {
			if err == nil || err.Error() != want || warned != "" {
				t.Errorf("%q: %v, warned %q; want %s", args, err, warned, want)
			}
			continue
		}
		if err != nil || device.Info().Name != "cpu" || warned != "computing on the cpu: cuda:0 is taken" {
			t.Fatalf("%q: %v, warned %q", args, err, warned)
		}
		if err := device.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A card is checked once, when it is opened. One that computes wrongly is closed again: auto is the cpu then and says why, and the card by name is an error.
func TestDeviceChecked(t *testing.T) {
	const why = "cuda:0 (X) failed its self-check: linear layer"
	for _, c := range []struct {
		args             string
		right            bool
		on, warned, says string // the device, the line, the error
		checks           int
	}{
		{"", true, "cuda:0", "", "", 1},
		{"-device cuda -precision bf16", true, "cuda:0", "", "", 1},
		{"", false, "cpu", "computing on the cpu: " + why, "", 1},
		{"-device cuda", false, "", "", why, 1},
		{"-device cuda:0", false, "", "", why, 1},
		{"-precision fp16", false, "", "computing on the cpu: " + why, "precision fp16 is not there on cpu: it has fp32 (the cpu, since " + why + ")", 1},
		{"-device cuda -precision fp32", false, "", "", "precision fp32 is not there on cuda:0: it has fp16, bf16", 0},
		{"-device cpu", false, "cpu", "", "", 0},
	} {
		fs, d := flags(&bytes.Buffer{})
		if err := Parse(fs, strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		var warned, on, says string
		card := &wrongCard{right: c.right}
		device, precision, err := d.openWith(nil, func() (selfTested, error) { return card, nil }, func(line string) { warned += line })
		if err != nil {
			says = err.Error()
		} else {
			on = device.Info().Name
			if (precision == kernels.BF16) != strings.Contains(c.args, "bf16") {
				t.Errorf("%q: precision %v", c.args, precision)
			}
		}
		closed := 0
		if on != "cuda:0" && c.args != "-device cpu" {
			closed = 1
		}
		if on != c.on || warned != c.warned || says != c.says || card.checks != c.checks || card.closed != closed {
			t.Errorf("%q: %q, warned %q, error %q, checked %d and closed %d times; want %+v", c.args, on, warned, says, card.checks, card.closed, c)
		}
		if on == "cpu" {
			if err := device.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Cards without opening them: which ones a program for several cards gets.
func TestCards(t *testing.T) {
	both := []kernels.DType{kernels.F16, kernels.BF16}
	there := []kernels.Info{
		{Name: "cuda:0", Precisions: both, Memory: 80 << 30}, {Name: "cuda:1", Detail: "cuda: device 1 (T4) has compute capability 7.5, at least 8.0 is needed"},
		{Name: "cuda:2", Precisions: both, Memory: 8 << 30},
	}
	for _, c := range []struct {
		args   string
		want   string // names and memory, or the error
		warned int
	}{
		{"", "cuda:0 80GiB", 0},
		{"-device cuda -gpu-memory 11GiB", "cuda:0 11GiB", 0},
		{"-device cuda:2 -gpu-memory 11GiB -precision bf16", "cuda:2 8GiB", 0},
		{"-device cuda:all -gpu-memory 11GiB", "cuda:0 11GiB cuda:2 8GiB", 1},
		{"-device cuda:1", there[1].Detail, 0},
		{"-device cuda:3", "-device cuda:3: this machine has cuda:0 to cuda:2", 0},
		{"-device cuda:all -precision fp32", "precision fp32 is not there on cuda:0: it has fp16, bf16", 0},
	} {
		fs := flag.NewFlagSet("prog", flag.ContinueOnError)
		d := &DeviceFlags{Several: true}
		d.Register(fs)
		if err := Parse(fs, strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		if err := d.check(); err != nil {
			t.Fatal(err)
		}
		var got, warned []string
		cards, err := d.choose(there, func(line string) { warned = append(warned, line) })
		for _, card := range cards {
			memory := Size(card.Memory)
			got = append(got, card.Name, memory.String())
		}
		if err != nil {
			got = append(got, err.Error())
		}
		if strings.Join(got, " ") != c.want || len(warned) != c.warned {
			t.Errorf("%q: %q, warned %q; want %q", c.args, got, warned, c.want)
		}
		if c.warned > 0 && warned[0] != "leaving out cuda:1: "+there[1].Detail {
			t.Errorf("%q: warned %q", c.args, warned)
		}
	}
	d := &DeviceFlags{Several: true, Device: allCards, Precision: "auto"}
	if _, err := d.choose(there[1:2], func(string) {}); err == nil || err.Error() != "-device cuda:all: none of the 1 cards can be used" {
		t.Errorf("%v", err)
	}
	if cards, err := (&DeviceFlags{Device: "cpu", Precision: "auto"}).Cards(nil); err != nil || len(cards) > 0 {
		t.Errorf("cpu: %v, %v", cards, err)
	}
	if _, _, err := d.Open(nil); err == nil || !strings.Contains(err.Error(), "-device cuda:all: this opens one device: must be auto, cpu, cuda or cuda:N") {
		t.Errorf("opening all: %v", err)
	}
	if why := cuda.Available(); why != nil {
		if _, err := d.Cards(func(string) {}); err == nil || err.Error() != why.Error() {
			t.Errorf("all cards of none: %v", err)
		}
	}
}

func TestLines(t *testing.T) {
	for want, d := range map[string]kernels.Info{
		"cuda:0: NVIDIA X, driver for CUDA 13.0, 11.5 GiB, kernels sm_80, fp16, bf16": {Name: "cuda:0", Detail: "NVIDIA X, driver for CUDA 13.0", Memory: 23 << 29,
			Variant: "sm_80", Precisions: []kernels.DType{kernels.F16, kernels.BF16}},
		"cuda:1: can't be used: too old": {Name: "cuda:1", Detail: "too old"},
	} {
		if got := line(d); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
