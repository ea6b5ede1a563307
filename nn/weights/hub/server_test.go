package hub

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testRepo   = "maker/tiny-xl"
	testCommit = "0123456789abcdef0123456789abcdef01234567"
)

// server has the hub's routes and, under another host, those of its CDN.
type server struct {
	*testing.T
	hub, cdn *httptest.Server
	files    map[string][]byte
	lfs      func(path string) bool

	mu       sync.Mutex
	commit   string
	token    string                                                           // that is needed, "" for none
	requests []string                                                         // method and path, or the range of the CDN's
	api      func(w http.ResponseWriter, r *http.Request) bool                // answers in place of the API and of resolve
	content  func(w http.ResponseWriter, r *http.Request, data []byte) []byte // may change what the CDN sends, or answer itself: nil
	listing  func(l map[string]any)
	signed   int // how many requests a signature of the CDN's is good for; 0: all
	uses     map[string]int
	serial   int
}

func newServer(t *testing.T, files map[string][]byte) *server {
	s := &server{T: t, files: files, commit: testCommit, uses: map[string]int{}, lfs: func(path string) bool { return strings.HasSuffix(path, ".safetensors") }}
	s.cdn = httptest.NewServer(http.HandlerFunc(s.serveContent))
	s.hub = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.cdn.Close)
	t.Cleanup(s.hub.Close)
	return s
}

// client is one with an empty cache.
func (s *server) client() *Client {
	return &Client{Settings: Settings{Endpoint: s.hub.URL, Cache: s.TempDir()}, Backoff: time.Millisecond}
}

func (s *server) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.requests
	s.requests = nil
	return seen
}

func (s *server) hash(path string) string {
	data := s.files[path]
	if s.lfs(path) {
		sum := sha256.Sum256(data)
		return hex.EncodeToString(sum[:])
	}
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
	return hex.EncodeToString(sum[:])
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	fail := func(status int, code, message string) {
		w.Header().Set("X-Error-Code", code)
		w.Header().Set("X-Error-Message", message)
		w.WriteHeader(status)
	}
	if s.api != nil && s.api(w, r) {
		return
	}
	if s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token {
		fail(http.StatusUnauthorized, "GatedRepo", "Access to model maker/tiny-xl is restricted.")
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/models/"+testRepo+"/revision/"); ok {
		if rest != "main" && rest != s.commit && rest != "refs/pr/1" {
			fail(http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+rest)
			return
		}
		s.list(w)
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/"+testRepo+"/resolve/"); ok {
		commit, path, _ := strings.Cut(rest, "/")
		data, there := s.files[path]
		w.Header().Set("X-Repo-Commit", commit)
		if commit != s.commit || !there {
			fail(http.StatusNotFound, "EntryNotFound", "Entry not found")
			return
		}
		if !s.lfs(path) {
			w.Header().Set("ETag", `"`+s.hash(path)+`"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
			return
		}
		s.serial++
		w.Header().Set("X-Linked-Etag", `"`+s.hash(path)+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(data)))
		w.Header().Set("Location", fmt.Sprintf("%s/blobs/%s?signature=%d", s.cdn.URL, path, s.serial))
		w.WriteHeader(http.StatusFound)
		return
	}
	fail(http.StatusNotFound, "RepoNotFound", "Repository not found")
}

func (s *server) list(w http.ResponseWriter) {
	var files []any
	for path, data := range s.files {
		f := map[string]any{"rfilename": path, "size": len(data), "blobId": s.hash(path)}
		if s.lfs(path) {
			f["blobId"], f["lfs"] = strings.Repeat("0", 40), map[string]any{"sha256": s.hash(path), "size": len(data), "pointerSize": 135}
		}
		files = append(files, f)
	}
	l := map[string]any{"id": testRepo, "sha": s.commit, "siblings": files}
	if s.listing != nil {
		s.listing(l)
	}
	if err := json.NewEncoder(w).Encode(l); err != nil {
		s.Error(err)
	}
}

func (s *server) serveContent(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Header.Get("Range")+" "+r.URL.Path)
	s.uses[r.URL.RawQuery]++
	expired := s.signed > 0 && s.uses[r.URL.RawQuery] > s.signed
	data, content := s.files[strings.TrimPrefix(r.URL.Path, "/blobs/")], s.content
	s.mu.Unlock()
	if r.Header.Get("Authorization") != "" {
		s.Errorf("the token goes to the CDN")
	}
	if expired {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if content != nil {
		if data = content(w, r, data); data == nil {
			return
		}
	}
	w.Header().Set("ETag", `"of the CDN"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// cut ends a connection after n bytes of a body that was to have all of data, from where the request's range begins.
func cut(w http.ResponseWriter, r *http.Request, data []byte, n int) {
	var from int
	status := http.StatusOK
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
	w.WriteHeader(status)
	_, _ = w.Write(data[from:min(from+n, len(data))])
	panic(http.ErrAbortHandler)
}

// random is content that no compression and no hash takes for another.
func random(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

// pipeline is a repository in diffusers' layout with all that published ones have beside it.
func pipeline() map[string][]byte {
	files := map[string][]byte{
		"model_index.json": []byte(`{"_class_name": "StableDiffusionXLPipeline", "scheduler": ["diffusers", "EulerDiscreteScheduler"],
 "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
 "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
 "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"], "image_encoder": [null, null],
 "feature_extractor": ["transformers", "CLIPImageProcessor"]}`),
		"README.md": []byte("a model"), ".gitattributes": []byte("*.safetensors lfs"), "whole_model.safetensors": random(5000, 99),
		"scheduler/scheduler_config.json": []byte("{}"), "feature_extractor/preprocessor_config.json": []byte("{}"),
		"vae_1_0/config.json": []byte("{}"), "vae_1_0/diffusion_pytorch_model.safetensors": random(4000, 98),
		"unet/model.onnx": random(100, 97),
	}
	for i, c := range []string{"text_encoder", "text_encoder_2", "unet", "vae"} {
		base := "/model"
		if c == "unet" || c == "vae" {
			base = "/diffusion_pytorch_model"
		}
		files[c+"/config.json"] = fmt.Appendf(nil, `{"of": %q}`, c)
		files[c+base+".safetensors"] = random(70000+i, uint64(i))
		files[c+base+".fp16.safetensors"] = random(35000+i, uint64(10+i))
		files[c+"/pytorch_model.bin"] = random(300, uint64(20+i))
	}
	for _, c := range []string{"tokenizer", "tokenizer_2"} {
		for _, name := range []string{"vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"} {
			files[c+"/"+name] = []byte(c + name)
		}
	}
	return files
}

// wanted are the files of pipeline that goxl reads, in fp16.
func wanted(files map[string][]byte) (want []string) {
	for path := range files {
		switch dir, name, _ := strings.Cut(path, "/"); {
		case path == "model_index.json", dir == "scheduler", strings.HasPrefix(dir, "tokenizer"):
			want = append(want, path)
		case slices.Contains([]string{"text_encoder", "text_encoder_2", "unet", "vae"}, dir) && (name == "config.json" || strings.HasSuffix(name, ".fp16.safetensors")):
			want = append(want, path)
		}
	}
	slices.Sort(want)
	return want
}
