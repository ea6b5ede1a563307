package server

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// A job whose record is damaged is in no list; the log has its id.
func TestDamagedRecord(t *testing.T) {
	b := loadedBench(t, nil)
	whole := b.finished(t, b.postJob(t, plain).ID)
	damaged := b.finished(t, b.postJob(t, `{"prompt":"words that are damaged"}`).ID)
	file, err := os.ReadFile(b.config.Journal)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(b.config.Journal, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	words := []byte("words that are damaged")
	for from := 0; ; { // older pages have them too
		i := bytes.Index(file[from:], words)
		if i < 0 {
			break
		}
		if _, err := f.WriteAt([]byte("W"), int64(from+i)); err != nil {
			t.Fatal(err)
		}
		from += i + len(words)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var page struct{ Jobs []jobView }
	w := b.do("GET", "/v1/jobs", "")
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 || len(page.Jobs) != 1 || page.Jobs[0].ID != whole.ID {
		t.Errorf("%d %s, %v", w.Code, w.Body, err)
	}
	if log := b.log.String(); !strings.Contains(log, "records of jobs are damaged") || !strings.Contains(log, damaged.ID) {
		t.Errorf("the log does not say so:\n%s", log)
	}
	if w := b.do("GET", "/v1/jobs/"+damaged.ID, ""); w.Code != 500 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
