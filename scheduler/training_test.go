package scheduler

import (
	"hash/crc32"
	"math"
	"testing"
)

func TestTimestepsOfEveryStepCount(t *testing.T) {
	golden := readGolden[scheduleGolden](t, "schedules.json.gz")
	sdxl, err := Parse(golden.Bases["sdxl"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range golden.Checksums {
		as, err := sdxl.As(want.As)
		if err != nil {
			t.Fatal(err)
		}
		as.TimestepSpacing = want.Spacing
		train, err := newTraining(&as)
		if err != nil {
			t.Fatal(err)
		}
		var crc uint32
		for n := want.From; n < want.To; n++ {
			p := &plan{c: &as, o: &Options{Steps: n}, train: train, steps: n}
			if err := classes[as.Class].setTimesteps(p); err != nil {
				t.Fatalf("%s %s %d: %v", want.As, want.Spacing, n, err)
			}
			raw := make([]byte, 0, 4*len(p.timesteps))
			for _, ts := range p.timesteps {
				raw = appendFloat32(raw, float32(ts))
			}
			crc = crc32.Update(crc, crc32.IEEETable, raw)
		}
		if crc != want.CRC {
			t.Errorf("%s %s, %d to %d steps: timesteps differ", want.As, want.Spacing, want.From, want.To-1)
		}
	}
}

func TestTrainingSchedule(t *testing.T) {
	golden := readGolden[scheduleGolden](t, "schedules.json.gz")
	sdxl, err := Parse(golden.Bases["sdxl"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range golden.Tables {
		sdxl.RescaleZeroSNR = want.Rescale
		train, err := newTraining(&sdxl)
		if err != nil {
			t.Fatal(err)
		}
		var raw []byte
		for _, a := range train.alphasCumprod {
			raw = appendFloat32(raw, a)
		}
		if got := crc32.ChecksumIEEE(raw); got != want.CRC && !want.Rescale {
			t.Error("cumulative alphas are not bit for bit torch's")
		}
		// Rescaling takes square roots, whose last bit the host decides, and near the end subtracts almost equal ones.
		tolerance := 0.0
		if want.Rescale {
			tolerance = 3e-7
		}
		for i, at := range want.At {
			got, ref := float64(train.alphasCumprod[at]), float64(want.AlphasCumprod[i])
			if math.IsNaN(got) || math.Abs(got-ref) > tolerance*math.Sqrt(ref) {
				t.Errorf("rescale %v: cumulative alpha %d is %v, want %v", want.Rescale, at, got, ref)
			}
			if !want.Rescale {
				s := float64(train.sigmas[at])
				if ref := float64(want.Sigmas[i]); !(math.Abs(s-ref) <= sigmaTolerance*ref) {
					t.Errorf("sigma %d is %v, want %v", at, s, ref)
				}
			}
		}
	}
}

func appendFloat32(raw []byte, v float32) []byte {
	bits := math.Float32bits(v)
	return append(raw, byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24))
}
