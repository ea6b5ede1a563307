//go:build ignore

// Manifest writes the manifest.json of a folder of PTX modules to stdout: the hashes of every source and module, the
// kernels and the static shared memory that they declare. build.sh calls it in kernels/cuda:
//
//	go run gen/manifest.go FOLDER COMPILER FLAGS
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

type module struct {
	SHA256  string         `json:"sha256"` // of the uncompressed text, since compressors differ
	Kernels map[string]int `json:"kernels"`
}

var (
	entry  = regexp.MustCompile(`\.visible \.entry (\w+)\(`)
	shared = regexp.MustCompile(`(?m)^\s*\.shared .*?\.b8 \S+\[(\d+)\];`)
)

func main() {
	out := struct {
		Generator string            `json:"generator"`
		Compiler  string            `json:"compiler"`
		Flags     string            `json:"flags"`
		Sources   map[string]string `json:"sources"`
		Modules   map[string]module `json:"modules"`
	}{"kernels/cuda/build.sh", os.Args[2], os.Args[3], map[string]string{}, map[string]module{}}
	for _, path := range append(glob("src/*"), append(glob("gen/*"), "build.sh")...) {
		text, err := os.ReadFile(path)
		check(err)
		out.Sources[path] = digest(text)
	}
	for _, path := range glob(os.Args[1] + "/*.ptx.gz") {
		packed, err := os.ReadFile(path)
		check(err)
		r, err := gzip.NewReader(bytes.NewReader(packed))
		check(err)
		text, err := io.ReadAll(r)
		check(err)
		// Every kernel counts all shared memory that its module declares.
		bytes := 0
		for _, m := range shared.FindAllSubmatch(text, -1) {
			n, err := strconv.Atoi(string(m[1]))
			check(err)
			bytes += n
		}
		made := module{SHA256: digest(text), Kernels: map[string]int{}}
		for _, m := range entry.FindAllSubmatch(text, -1) {
			made.Kernels[string(m[1])] = bytes
		}
		out.Modules["ptx/"+filepath.Base(path)] = made
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "\t")
	check(e.Encode(out))
}

func glob(pattern string) []string {
	paths, err := filepath.Glob(pattern)
	check(err)
	return paths
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
