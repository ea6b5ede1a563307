package worker

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// Hashes are those of the embeddings of some names, by the names; nil for none.
func (s Shared) Hashes(names []string) map[string]string {
	if len(names) == 0 {
		return nil
	}
	sums := map[string]string{}
	for _, e := range s.TextualInversions {
		if slices.Contains(names, e.Name) {
			sums[e.Name] = hashOf(e)
		}
	}
	return sums
}

// hashOf is 16 hexadecimal digits of the SHA-256 of an embedding's vectors.
func hashOf(e sdxl.TextualInversion) string {
	h := sha256.New()
	for _, x := range []*sdxl.Tensor{e.L, e.G} {
		if x == nil {
			fmt.Fprintln(h, "none")
			continue
		}
		fmt.Fprintln(h, x.Shape)
		data := make([]byte, 0, 4*len(x.Data))
		for _, v := range x.Data {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		h.Write(data) // a hash returns no error
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// Fingerprints are those of the files that a job names in the folders, but of LoRAs, by the field and the name within
// the folder, with the encoders that lie beside IP-Adapters without one of their own. That of what is not there, or
// can't be read, is "". Nil is none.
func (s Shared) Fingerprints(j engine.Job) map[string]string {
	r, sums := j.Request, map[string]string{}
	add := func(name string, paths ...string) {
		var all string
		for _, path := range paths {
			if sum, err := sdxl.FileFingerprint(path); err == nil {
				all += sum
			}
		}
		sums[name] = all
	}
	for i := range r.IPAdapters {
		a := &r.IPAdapters[i]
		if file, err := s.ipAdapters().relative(a.Path); err == nil && a.Encoder == "" {
			add("ip_adapters "+file+"'s image encoder", sdxl.EncoderPlaces(a.Path)...)
		}
	}
	note := func(f folder, path string) (string, error) {
		if file, err := f.relative(path); err == nil && file != "" {
			add(f.field+" "+file, path)
		}
		return path, nil // so that neither of these fails
	}
	_ = s.mapFiles(&r, note)
	_, _ = s.mapUpscalers(j.Upscale, note)
	if len(sums) == 0 {
		return nil
	}
	return sums
}

// otherFile says which file of a job is missing here, or has another content, "" if there is none. A file whose hash the
// job does not have is not compared.
func otherFile(j job.Job, t Task, specs engine.Specs, s Shared) string {
	here := s.Hashes(t.names())
	for _, name := range t.names() {
		if here[name] != t.Embeddings[name] {
			return "it has another file of the embedding " + name
		}
	}
	files := s.Fingerprints(t.Job)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch there := t.Files[name]; {
		case files[name] == "":
			return "it lacks " + name
		case there != "" && there != files[name]:
			return "it has another file of " + name
		}
	}
	if !slices.ContainsFunc(j.Adapters, func(a job.Adapter) bool { return a.Hash != "" }) {
		return ""
	}
	hashes := specs.AdapterHashes(t.Job)
	for i, a := range j.Adapters {
		if a.Hash != "" && (i >= len(hashes) || hashes[i] != a.Hash) {
			return "it has another file of the adapter " + a.Name
		}
	}
	return ""
}

// names are those of the embeddings, sorted.
func (t Task) names() (list []string) {
	for name := range t.Embeddings {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
