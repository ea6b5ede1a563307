package hub

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
)

// Settings says where the hub and its cache are.
type Settings struct {
	Endpoint string // the server's URL, without a slash at its end
	Cache    string // the folder that holds repositories
	Token    string // of an account, for gated and private repositories; "" is none
	Offline  bool   // nothing is asked of the server
}

// FromEnvironment reads huggingface_hub's environment variables: HF_ENDPOINT; HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE,
// HF_HOME, XDG_CACHE_HOME; HF_TOKEN, HUGGING_FACE_HUB_TOKEN, and the file HF_TOKEN_PATH or HF_HOME/token that `hf auth
// login` writes; HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE.
func FromEnvironment() Settings {
	home := os.Getenv("HF_HOME")
	if home == "" {
		home = filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join("~", ".cache")), "huggingface")
	}
	home = expand(home)
	s := Settings{
		Endpoint: strings.TrimRight(cmp.Or(os.Getenv("HF_ENDPOINT"), "https://huggingface.co"), "/"),
		Cache:    expand(cmp.Or(os.Getenv("HF_HUB_CACHE"), os.Getenv("HUGGINGFACE_HUB_CACHE"), filepath.Join(home, "hub"))),
		Token:    strings.TrimSpace(cmp.Or(os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN"))),
	}
	switch strings.ToUpper(cmp.Or(os.Getenv("HF_HUB_OFFLINE"), os.Getenv("TRANSFORMERS_OFFLINE"))) {
	case "1", "ON", "YES", "TRUE":
		s.Offline = true
	}
	if s.Token == "" {
		file := expand(cmp.Or(os.Getenv("HF_TOKEN_PATH"), filepath.Join(home, "token")))
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Size() < 1<<12 {
			data, _ := os.ReadFile(file) // one that can't be read is none, as in Python
			s.Token = strings.TrimSpace(string(data))
		}
	}
	return s
}

// expand replaces variables, and ~ at the beginning, as Python's expandvars and expanduser do.
func expand(path string) string {
	path = os.ExpandEnv(path)
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}
