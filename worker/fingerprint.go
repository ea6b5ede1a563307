package worker

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
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

// otherFile is the name of an adapter or an embedding of a job that has another content here, "" if there is none. An
// adapter whose hash the job does not have is not compared.
func otherFile(j job.Job, t Task, specs engine.Specs, s Shared) string {
	here := s.Hashes(t.names())
	for _, name := range t.names() {
		if here[name] != t.Embeddings[name] {
			return "the embedding " + name
		}
	}
	if !slices.ContainsFunc(j.Adapters, func(a job.Adapter) bool { return a.Hash != "" }) {
		return ""
	}
	hashes := specs.AdapterHashes(t.Job)
	for i, a := range j.Adapters {
		if a.Hash != "" && (i >= len(hashes) || hashes[i] != a.Hash) {
			return "the adapter " + a.Name
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
