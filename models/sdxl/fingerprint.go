package sdxl

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

const (
	sampledTensors = 512     // of a component, at most
	sampledValues  = 256     // of a tensor, in its middle
	sampledMade    = 4 << 20 // elements of a tensor that is made when it is asked for, at most
	sampledPlaces  = 16      // of a file
	sampledBytes   = 4 << 10 // at each of them
)

// Fingerprint tells models of one name apart, on several machines: 16 hexadecimal digits of a SHA-256 of the names and
// shapes of all tensors, of a part of the values of some of them, as fp16 has them, and of what Options.UNet, VAE, TAESD
// and Missing bring. So the fp32 and the fp16 files of one model, or a folder and a file, have one fingerprint; those of
// bfloat16 and float8 have others. It reads some 5 MB, whatever the size of the model. Of o, Variant and Precision
// choose files as in Open; a Host is not needed. A model whose weights are computed has none: "". The error is a
// *ModelError.
func Fingerprint(path string, o Options) (string, error) {
	if strings.HasPrefix(path, SyntheticPrefix) {
		return "", nil
	}
	sum, err := fingerprintOf(path, o)
	if err != nil {
		return "", &ModelError{path, err}
	}
	return sum, nil
}

func fingerprintOf(path string, o Options) (_ string, err error) {
	quiet := slog.New(slog.DiscardHandler)
	files, err := openStore(path, quiet)
	if err == nil {
		p := o.parts()
		p.VAE = "" // its file is sampled
		files, err = openStoreParts(files, p, true, quiet)
	}
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	h := sha256.New()
	for _, component := range []string{singlefile.TextEncoder, singlefile.TextEncoder2, singlefile.UNet, singlefile.VAE} {
		if !files.has(component) || component == singlefile.VAE && o.VAE != "" {
			continue
		}
		fmt.Fprintln(h, component)
		if err := sampleComponent(h, files, component, weights.Variant{Name: o.Variant, Precision: o.Precision}); err != nil {
			return "", err
		}
	}
	for _, part := range []string{o.VAE, o.TAESD} {
		if err := samplePart(h, part, ".safetensors"); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// sampleComponent writes the names and shapes of a component's tensors to a hash, and a part of the values of some.
func sampleComponent(h hash.Hash, files *store, component string, v weights.Variant) (err error) {
	src, closer, err := files.of(component).weights(component, v, func() map[string][]int { return nil })
	if err != nil {
		return err
	}
	if closer != nil {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	var names []string
	for _, name := range src.Names() {
		dtype, shape, err := src.Describe(name)
		var unused *weights.DTypeError
		if errors.As(err, &unused) {
			continue // of a type that no model takes
		}
		if err != nil {
			return err
		}
		if !isFloat(dtype) { // as the positions that some files have
			continue
		}
		names = append(names, name)
		fmt.Fprintln(h, name, shape)
	}
	for i := range min(len(names), sampledTensors) {
		if err := sampleTensor(h, src, names[i*len(names)/min(len(names), sampledTensors)]); err != nil {
			return err
		}
	}
	return nil
}

func isFloat(d kernels.DType) bool { return d == kernels.F32 || d == kernels.F16 || d == kernels.BF16 }

// sampleTensor writes the middle of a tensor to a hash, as fp16.
func sampleTensor(h hash.Hash, src kernels.Source, name string) error {
	_, shape, err := src.Describe(name)
	if err != nil {
		return err
	}
	elements := 1
	for _, n := range shape {
		elements *= n
	}
	if src.Storage(name) == kernels.Made && elements > sampledMade {
		return nil
	}
	dtype, _, data, err := src.Tensor(name)
	if err != nil {
		return err
	}
	n := min(elements, sampledValues)
	from := (elements - n) / 2
	out := make([]byte, 0, 2*n)
	for i := from; i < from+n; i++ {
		var x uint16
		switch dtype {
		case kernels.F32:
			x = kernels.ToF16(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])))
		case kernels.F16:
			x = binary.LittleEndian.Uint16(data[2*i:])
		default:
			x = kernels.ToF16(kernels.FromBF16(binary.LittleEndian.Uint16(data[2*i:])))
		}
		out = binary.LittleEndian.AppendUint16(out, x)
	}
	h.Write(out) // a hash returns no error
	return nil
}

// FileFingerprint tells what a request names by one path apart, on several machines: 16 hexadecimal digits of a SHA-256
// of the length and 64 KiB of a file or, of a folder, of those of its weights and of config.json.
func FileFingerprint(path string) (string, error) {
	h := sha256.New()
	if err := samplePart(h, path, ".safetensors", ".bin", ".pth", ".pt"); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// samplePart writes the lengths and parts of a file to a hash, or those of a folder's files with such extensions and of
// config.json.
func samplePart(h hash.Hash, path string, extensions ...string) error {
	if path == "" {
		return nil
	}
	if folder, err := vaeFolder(path); err == nil && folder != "" { // a model's
		path = folder
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(file) // of what a link leads to
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || file != path && !slices.Contains(extensions, filepath.Ext(file)) && filepath.Base(file) != "config.json" {
			return nil
		}
		return sampleFile(h, file, info.Size())
	})
}

func sampleFile(h hash.Hash, path string, size int64) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fmt.Fprintln(h, "file", size)
	block := make([]byte, sampledBytes)
	for i := range int64(sampledPlaces) {
		n, err := f.ReadAt(block, max(0, size-sampledBytes)*i/(sampledPlaces-1))
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		h.Write(block[:n])
	}
	return nil
}
