package server

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

// A body that is no JSON comes back as far as it takes to know it again.
func TestEcho(t *testing.T) {
	b := loadedBench(t, nil)
	for name, c := range map[string]struct{ body, want string }{
		"short":         {"a=b&c=<d>", "a=b&c=<d>"},
		"limit":         {strings.Repeat("x", 256), strings.Repeat("x", 256)},
		"long":          {strings.Repeat("x", 257), strings.Repeat("x", 256) + "…"},
		"NULs":          {strings.Repeat("\x00", maxBody), strings.Repeat("\x00", 256) + "…"},
		"characters":    {"x" + strings.Repeat("猫", 20000), "x" + strings.Repeat("猫", 85) + "…"},
		"cut character": {"xx" + strings.Repeat("猫", 20000), "xx" + strings.Repeat("猫", 84) + "…"},
		"not UTF-8":     {strings.Repeat("\x80", 1000), ""},
		"JSON":          {`{"prompt":"a"}`, `{"prompt":"a"}`},
	} {
		for _, path := range []string{"/generate", "/refine"} {
			r := httptest.NewRequest("POST", path, strings.NewReader(c.body))
			r.Header.Set("Content-Type", "text/plain")
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r)
			var got struct {
				Detail []struct{ Type, Input string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 422 || len(got.Detail) != 1 || got.Detail[0].Type != "model_attributes_type" {
				t.Errorf("%s: %d %.200s, %v", name, w.Code, w.Body, err)
				continue
			}
			if input := got.Detail[0].Input; c.want != "" && input != c.want {
				t.Errorf("%s: input %.300q of %d bytes", name, input, len(input))
			}
			if w.Body.Len() > 2000 {
				t.Errorf("%s: an answer of %d bytes", name, w.Body.Len())
			}
		}
	}
}
