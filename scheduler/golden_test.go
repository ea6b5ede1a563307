package scheduler

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func readGolden[T any](t testing.TB, name string) T {
	t.Helper()
	var golden T
	file, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(unzipped).Decode(&golden); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return golden
}
