package singlefile

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/goxl/goxl/nn/weights"
)

// TestRaw: a component's tensors are told apart by what the file stores of them, which is cut as they are.
func TestRaw(t *testing.T) {
	const header = `{"in":{"dtype":"F8_E5M2","shape":[6,1],"data_offsets":[0,6]},"p":{"dtype":"F16","shape":[2,2],"data_offsets":[6,14]}}`
	open := func(data string) *view {
		f, err := weights.Parse("m", append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...))
		if err != nil {
			t.Fatal(err)
		}
		return newView(f, map[string]part{"k": {tensor: "in", third: 2}, "whole": {tensor: "in"}, "t": {tensor: "p", transpose: true}})
	}
	v := open("abcdefAaBbCcDd")
	for name, want := range map[string]string{"k": "cd", "whole": "abcdef", "t": "AaCcBbDd"} {
		if got, err := v.Raw(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, error %v, want %q", name, got, err, want)
		}
	}
	var ne *weights.NameError
	if _, err := v.Raw("in"); !errors.As(err, &ne) {
		t.Errorf("a name of the file: error %v", err)
	}
	sum := func(v *view) [32]byte {
		h := sha256.New()
		if err := weights.Fingerprint(h, v); err != nil {
			t.Fatal(err)
		}
		return [32]byte(h.Sum(nil))
	}
	if sum(v) == sum(open("abcdeFAaBbCcDd")) || sum(v) != sum(open("abcdefAaBbCcDd")) {
		t.Error("the fingerprint of float8 is not that of its bytes")
	}
}
