package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/server/engine"
)

// Types, places and messages below are what FastAPI 0.165 with pydantic 2.14 answers to the same bodies; ctx is longer (see problem).
func TestBadInput(t *testing.T) {
	const side = `"ctx":{"ge":8,"le":2048,"multiple_of":8}`
	const steps = `"ctx":{"ge":1,"le":200}`
	const words = `'euler', 'ddim' or 'heun'`
	field := func(name, value string) string { return `{"prompt":"a","` + name + `":` + value + `}` }
	problem := func(loc, kind, msg, input, ctx string) string {
		if ctx != "" {
			ctx = "," + ctx
		}
		return `{"detail":[{"type":"` + kind + `","loc":[` + loc + `],"msg":"` + msg + `","input":` + input + ctx + `}]}`
	}
	at := func(name, kind, msg, input, ctx string) string {
		return problem(`"body","`+name+`"`, kind, msg, input, ctx)
	}
	syntax := func(pos, reason string) string {
		return problem(`"body",`+pos, "json_invalid", "JSON decode error", `{}`, `"ctx":{"error":"`+reason+`"}`)
	}
	const (
		isMissing    = "Field required"
		notString    = "Input should be a valid string"
		notUnicode   = "Input should be a valid string, unable to parse raw data as a unicode string"
		notObject    = "Input should be a valid dictionary or object to extract fields from"
		notIntText   = "Input should be a valid integer, unable to parse string as an integer"
		notInt       = "Input should be a valid integer"
		fractional   = "Input should be a valid integer, got a number with a fractional part"
		notMultiple  = "Input should be a multiple of 8"
		tooWide      = "Input should be less than or equal to 2048"
		tooNarrow    = "Input should be greater than or equal to 8"
		notFinite    = "Input should be a finite number"
		notFloat     = "Input should be a valid number"
		notFloatText = "Input should be a valid number, unable to parse string as a number"
		notScheduler = "Input should be " + words
		expected     = `"ctx":{"expected":"` + words + `"}`
	)
	for _, c := range []struct{ path, body, want string }{
		{"/generate", ``, problem(`"body"`, "missing", isMissing, `null`, "")},
		{"/generate", ` `, syntax("1", "unexpected end of JSON input")},
		{"/generate", `{`, syntax("1", "unexpected end of JSON input")},
		{"/generate", `{"prompt":"a",}`, syntax("14", "invalid character '}' looking for beginning of object key string")},
		{"/generate", `{"é" 1}`, syntax("5", "invalid character '1' after object key")},
		{"/generate", `{"prompt":"a"} x`, syntax("15", "invalid character 'x' after top-level value")},
		{"/generate", `{"prompt":NaN}`, syntax("10", "invalid character 'N' looking for beginning of value")},
		{"/generate", "{\"prompt\":\"\xff\"}", syntax("11", "the body is not valid UTF-8")},
		{"/generate", "{\"prompt\":\"é\xe2\x82\"}", syntax("12", "the body is not valid UTF-8")},
		{"/generate", `[]`, problem(`"body"`, "model_attributes_type", notObject, `[]`, "")},
		{"/generate", `"x"`, problem(`"body"`, "model_attributes_type", notObject, `"x"`, "")},
		{"/generate", ` null `, problem(`"body"`, "model_attributes_type", notObject, `null`, "")},

		{"/generate", `{}`, at("prompt", "missing", isMissing, `{}`, "")},
		{"/generate", `{"Prompt":"<a>"}`, at("prompt", "missing", isMissing, `{"Prompt":"<a>"}`, "")},
		{"/generate", `{"prompt":7}`, at("prompt", "string_type", notString, `7`, "")},
		{"/generate", `{"prompt":null}`, at("prompt", "string_type", notString, `null`, "")},
		{"/generate", `{"prompt":["a"]}`, at("prompt", "string_type", notString, `["a"]`, "")},
		{"/generate", `{"prompt":"a","prompt":7}`, at("prompt", "string_type", notString, `7`, "")},
		{"/generate", `{"prompt":"\ud800"}`, at("prompt", "string_unicode", notUnicode, `"\ud800"`, "")},
		{"/generate", field("negative_prompt", `7`), at("negative_prompt", "string_type", notString, `7`, "")},
		{"/generate", field("negative_prompt", `"x\udc00"`), at("negative_prompt", "string_unicode", notUnicode, `"x\udc00"`, "")},

		{"/generate", field("width", `"abc"`), at("width", "int_parsing", notIntText, `"abc"`, "")},
		{"/generate", field("width", `""`), at("width", "int_parsing", notIntText, `""`, "")},
		{"/generate", field("width", `"512.5"`), at("width", "int_parsing", notIntText, `"512.5"`, "")},
		{"/generate", field("width", `"0x10"`), at("width", "int_parsing", notIntText, `"0x10"`, "")},
		{"/generate", field("width", `"1e3"`), at("width", "int_parsing", notIntText, `"1e3"`, "")},
		{"/generate", field("width", `"５１２"`), at("width", "int_parsing", notIntText, `"５１２"`, "")},
		{"/generate", field("width", `[]`), at("width", "int_type", notInt, `[]`, "")},
		{"/generate", field("width", `{}`), at("width", "int_type", notInt, `{}`, "")},
		{"/generate", field("width", `512.5`), at("width", "int_from_float", fractional, `512.5`, "")},
		{"/generate", field("width", `1e400`), at("width", "finite_number", notFinite, `1e400`, "")},
		{"/generate", field("width", strings.Repeat("8", 4301)),
			at("width", "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size", strings.Repeat("8", 4301), "")},
		{"/generate", field("width", `true`), at("width", "multiple_of", notMultiple, `true`, side)},
		{"/generate", field("width", `7`), at("width", "multiple_of", notMultiple, `7`, side)},
		{"/generate", field("width", `"513"`), at("width", "multiple_of", notMultiple, `"513"`, side)},
		{"/generate", field("width", `0`), at("width", "greater_than_equal", tooNarrow, `0`, side)},
		{"/generate", field("width", `"-8"`), at("width", "greater_than_equal", tooNarrow, `"-8"`, side)},
		{"/generate", field("width", `-0`), at("width", "greater_than_equal", tooNarrow, `-0`, side)},
		{"/generate", field("height", `2056`), at("height", "less_than_equal", tooWide, `2056`, side)},
		{"/generate", field("height", `8e30`), at("height", "less_than_equal", tooWide, `8e30`, side)},

		{"/generate", field("num_inference_steps", `0`), at("num_inference_steps", "greater_than_equal", "Input should be greater than or equal to 1", `0`, steps)},
		{"/generate", field("num_inference_steps", `201`), at("num_inference_steps", "less_than_equal", "Input should be less than or equal to 200", `201`, steps)},
		{"/generate", field("guidance_scale", `"x"`), at("guidance_scale", "float_parsing", notFloatText, `"x"`, "")},
		{"/generate", field("guidance_scale", `"0x1p3"`), at("guidance_scale", "float_parsing", notFloatText, `"0x1p3"`, "")},
		{"/generate", field("guidance_scale", `{}`), at("guidance_scale", "float_type", notFloat, `{}`, "")},
		{"/generate", field("guidance_scale", `[]`), at("guidance_scale", "too_short", "List should have at least 1 item after validation, not 0", `[]`,
			`"ctx":{"actual_length":0,"field_type":"List","min_length":1}`)},
		{"/generate", field("guidance_scale", `[1,"x",null]`), `{"detail":[` +
			`{"type":"float_parsing","loc":["body","guidance_scale",1],"msg":"` + notFloatText + `","input":"x"},` +
			`{"type":"float_type","loc":["body","guidance_scale",2],"msg":"` + notFloat + `","input":null}]}`},
		{"/generate", field("sigmas", `7`), at("sigmas", "list_type", "Input should be a valid list", `7`, "")},
		{"/generate", field("timesteps", `[-1]`), `{"detail":[{"type":"greater_than_equal","loc":["body","timesteps",0],"msg":"Input should be greater than or equal to 0","input":-1,"ctx":{"ge":0,"le":1000000}}]}`},
		{"/generate", field("target_size", `[7]`), at("target_size", "too_short", "List should have at least 2 items after validation, not 1", `[7]`,
			`"ctx":{"actual_length":1,"field_type":"List","min_length":2}`)},
		{"/generate", field("target_size", `[7,8,9]`), at("target_size", "too_long", "List should have at most 2 items after validation, not 3", `[7,8,9]`,
			`"ctx":{"actual_length":3,"field_type":"List","max_length":2}`)},
		{"/generate", field("original_size", `[7,0.5]`), `{"detail":[{"type":"int_from_float","loc":["body","original_size",1],"msg":"` + fractional + `","input":0.5}]}`},
		{"/generate", field("original_size", `[null,8]`), `{"detail":[{"type":"int_type","loc":["body","original_size",0],"msg":"` + notInt + `","input":null}]}`},
		{"/generate", field("crops_coords_top_left", `"0,0"`), at("crops_coords_top_left", "list_type", "Input should be a valid list", `"0,0"`, "")},
		{"/generate", field("refiner", `"maybe"`), at("refiner", "bool_parsing", "Input should be a valid boolean, unable to interpret input", `"maybe"`, "")},
		{"/generate", field("refiner", `[]`), at("refiner", "bool_type", "Input should be a valid boolean", `[]`, "")},
		{"/generate", field("denoising_end", `1`), at("denoising_end", "less_than", "Input should be less than 1", `1`, `"ctx":{"gt":0,"lt":1}`)},
		{"/generate", field("interrupt", `0`), at("interrupt", "greater_than_equal", "Input should be greater than or equal to 1", `0`, `"ctx":{"ge":1,"le":1000}`)},
		{"/generate", field("guidance_scale", `"-inf"`), at("guidance_scale", "finite_number", notFinite, `"-inf"`, "")},
		{"/generate", field("guidance_scale", `1e400`), at("guidance_scale", "finite_number", notFinite, `1e400`, "")},
		{"/generate", field("guidance_scale", `-0.5`), at("guidance_scale", "greater_than_equal", "Input should be greater than or equal to 0", `-0.5`, `"ctx":{"ge":0,"le":1000}`)},
		{"/generate", field("guidance_scale", `1e300`), at("guidance_scale", "less_than_equal", "Input should be less than or equal to 1000", `1e300`, `"ctx":{"ge":0,"le":1000}`)},
		{"/generate", field("seed", `-2`), at("seed", "greater_than_equal", "Input should be greater than or equal to -1", `-2`, `"ctx":{"ge":-1,"le":18446744073709551615}`)},
		{"/generate", field("seed", `"-2"`), at("seed", "greater_than_equal", "Input should be greater than or equal to -1", `"-2"`, `"ctx":{"ge":-1,"le":18446744073709551615}`)},
		{"/generate", field("seed", `-1e300`), at("seed", "greater_than_equal", "Input should be greater than or equal to -1", `-1e300`, `"ctx":{"ge":-1,"le":18446744073709551615}`)},
		{"/generate", field("seed", `-1.5`), at("seed", "int_from_float", fractional, `-1.5`, "")},
		{"/generate", field("seed", `18446744073709551616`), at("seed", "less_than_equal", "Input should be less than or equal to 18446744073709551615", `18446744073709551616`, `"ctx":{"ge":-1,"le":18446744073709551615}`)},
		{"/generate", field("seed", `1.5`), at("seed", "int_from_float", fractional, `1.5`, "")},
		{"/generate", field("scheduler", `"foo"`), at("scheduler", "literal_error", notScheduler, `"foo"`, expected)},
		{"/generate", field("scheduler", `7`), at("scheduler", "literal_error", notScheduler, `7`, expected)},
		{"/generate", field("scheduler", `""`), at("scheduler", "literal_error", notScheduler, `""`, expected)},

		{"/refine", `{"prompt":"a"}`, at("id", "missing", isMissing, `{"prompt":"a"}`, "")},
		{"/refine", `{"id":7,"prompt":"a"}`, at("id", "string_type", notString, `7`, "")},
		{"/refine", `{"id":"x","prompt":"a","strength":0}`, at("strength", "greater_than", "Input should be greater than 0", `0`, `"ctx":{"gt":0,"le":1}`)},
		{"/refine", `{"id":"x","prompt":"a","strength":"1.5"}`, at("strength", "less_than_equal", "Input should be less than or equal to 1", `"1.5"`, `"ctx":{"gt":0,"le":1}`)},
		{"/refine", `{"id":"x","prompt":"a","strength":"y"}`, at("strength", "float_parsing", notFloatText, `"y"`, "")},

		// All that is wrong comes at once.
		{"/generate", `{"prompt":7,"width":7,"scheduler":"z"}`, `{"detail":[` +
			`{"type":"string_type","loc":["body","prompt"],"msg":"` + notString + `","input":7},` +
			`{"type":"literal_error","loc":["body","scheduler"],"msg":"` + notScheduler + `","input":"z",` + expected + `},` +
			`{"type":"multiple_of","loc":["body","width"],"msg":"` + notMultiple + `","input":7,` + side + `}]}`},
	} {
		b := loadedBench(t, nil)
		w := b.do("POST", c.path, c.body)
		if w.Code != http.StatusUnprocessableEntity || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %.60s: %d %s", c.path, c.body, w.Code, w.Header())
		}
		if diff := cmp.Diff(c.want, w.Body.String()); diff != "" {
			t.Errorf("%s %.60s (-want +got):\n%s", c.path, c.body, diff)
		}
		if n := b.base.calls.Load() + b.refiner.calls.Load(); n > 0 {
			t.Errorf("%s %.60s: reached the engine", c.path, c.body)
		}
	}
}

func TestContentType(t *testing.T) {
	b := loadedBench(t, nil)
	for contentType, want := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "APPLICATION/JSON": 200, "application/vnd.x+json": 200,
		"": 422, "text/plain": 422, "application/x-www-form-urlencoded": 422, "garbage": 422, "text/x+json": 422,
	} {
		r := httptest.NewRequest("POST", "/generate", strings.NewReader(`{"prompt":"a"}`))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", contentType, w.Code, want)
		}
		if want == 422 && !strings.Contains(w.Body.String(), `"type":"model_attributes_type","loc":["body"]`) {
			t.Errorf("%q: %s", contentType, w.Body)
		}
	}
}

func TestRoutes(t *testing.T) {
	b := loadedBench(t, nil)
	if err := os.WriteFile(b.images+"/../secret.png", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path, body string
		code               int
		want, header       string
	}{
		{"GET", "/generate", "", 405, `{"detail":"Method Not Allowed"}`, "Allow: POST"},
		{"OPTIONS", "/refine", "", 405, `{"detail":"Method Not Allowed"}`, "Allow: POST"},
		{"DELETE", "/download/x", "", 405, `{"detail":"Method Not Allowed"}`, "Allow: GET, HEAD"},
		{"POST", "/healthz", "", 405, `{"detail":"Method Not Allowed"}`, "Allow: GET, HEAD"},
		{"GET", "/nope", "", 404, `{"detail":"Not Found"}`, ""},
		{"POST", "/generate/", "{}", 404, `{"detail":"Not Found"}`, ""},
		{"GET", "/download/", "", 404, `{"detail":"Not Found"}`, ""},
		{"GET", "/download/a/b", "", 404, `{"detail":"Not Found"}`, ""},
		{"POST", "//generate", "{}", 404, `{"detail":"Not Found"}`, "Content-Type: application/json"},
		{"GET", "//generate", "", 404, `{"detail":"Not Found"}`, "Location: "},
		{"GET", "/download/../x", "", 404, `{"detail":"Not Found"}`, "Location: "},
		{"GET", "/download//x", "", 404, `{"detail":"Not Found"}`, "Location: "},
		{"GET", "/./healthz", "", 404, `{"detail":"Not Found"}`, "Location: "},
		{"HEAD", "/healthz/..", "", 404, `{"detail":"Not Found"}`, "Location: "},
		{"CONNECT", "/generate", "", 405, `{"detail":"Method Not Allowed"}`, "Allow: POST"},
		{"CONNECT", "/nope", "", 404, `{"detail":"Not Found"}`, ""},
		{"CONNECT", "//healthz", "", 404, `{"detail":"Not Found"}`, "Content-Type: application/json"},
		{"GET", "/download/" + fresh, "", 404, `{"detail":"Image not found"}`, ""},
		{"GET", "/download/x", "", 404, `{"detail":"Image not found"}`, ""},
		{"GET", "/download/..%2Fsecret", "", 404, `{"detail":"Image not found"}`, ""},
		{"GET", "/download/%00", "", 404, `{"detail":"Image not found"}`, ""},
		{"POST", "/refine", `{"id":"` + fresh + `","prompt":"a"}`, 404, `{"detail":"Image not found"}`, ""},
		{"POST", "/refine", `{"id":"../secret","prompt":"a"}`, 404, `{"detail":"Image not found"}`, ""},
		{"POST", "/generate", `{"prompt":"` + strings.Repeat("a", maxBody) + `"}`, 413, `{"detail":"Request body is too large: must be at most 65536 bytes"}`, "Connection: close"},
		{"GET", "/healthz", "", 200, `{"status":"ok"}`, "Content-Type: application/json"},
		{"GET", "/readyz", "", 200, `{"status":"ready"}`, "Content-Type: application/json"},
	} {
		w := b.do(c.method, c.path, c.body)
		name, value, _ := strings.Cut(c.header, ": ")
		if w.Code != c.code || w.Body.String() != c.want || w.Header().Get(name) != value {
			t.Errorf("%s %s: %d %s %v, want %d %s %s", c.method, c.path, w.Code, w.Body, w.Header(), c.code, c.want, c.header)
		}
	}
}

// No body may crash the parser, and one that encoding/json refuses must be refused.
func FuzzParseFields(f *testing.F) {
	for _, s := range []string{`{"prompt":"a"}`, `{"prompt":"\ud83d\ude00","width":"1_0.0"}`, `{`, `"\udc00\\u"`, "\xff", `{"width":1e99999}`} {
		f.Add([]byte(s))
	}
	s := newServer(Config{Schedulers: []string{"euler"}, MaxBatch: 1, Specs: engine.Specs{Base: fakeBase(f)}})
	f.Fuzz(func(t *testing.T, data []byte) {
		fields, p := parseFields(data, "application/json")
		if p != nil {
			if _, err := json.Marshal(p); err != nil {
				t.Error(err)
			}
			return
		}
		if !json.Valid([]byte(strings.TrimPrefix(string(data), "\uFEFF"))) {
			t.Error("taken, though not JSON")
		}
		made, err := s.generateJob(probing(), fields, fields.imageTask())
		j := made.task.Job
		if err == nil {
			_, err = s.resolve(fields, &j)
		}
		r, q := j.Request, j.Parameters
		if err == nil && (q.Width < 8 || q.Width > 2048 || q.Width%8 != 0 || q.Steps < 1 || q.Steps > 200) {
			t.Errorf("taken: %+v", q)
		}
		if strings.ContainsRune(r.Prompt, '\uFFFD') && !strings.Contains(string(data), "\uFFFD") && !strings.Contains(strings.ToLower(string(data)), `\ufffd`) {
			t.Errorf("replaced what it could not read: %q", r.Prompt)
		}
	})
}
