package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// Name is a model on the hub, or one file of a repository.
type Name struct {
	Repo     string // ORG/NAME
	File     string // slash-separated path of a file in it, "" for the model
	Revision string // a branch, tag or commit; never ""
}

const defaultRevision = "main"

var (
	part     = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?$`)
	revision = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_./+-]{0,199}$`)
	commit   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// ParseName reads ORG/NAME[/FILE][@REVISION]; without a revision it is main. Names follow huggingface_hub's rules.
func ParseName(s string) (Name, error) {
	bad := func(why string) (Name, error) {
		return Name{}, fmt.Errorf("hub name %q: %s: must be ORG/NAME, ORG/NAME@REVISION or ORG/NAME/FILE", s, why)
	}
	repo, rev, given := strings.Cut(s, "@")
	n := Name{Revision: defaultRevision}
	if given {
		if !revision.MatchString(rev) || strings.HasSuffix(rev, "/") || path.Clean(rev) != rev || strings.Contains(rev, "..") {
			return bad("the revision can't be one")
		}
		n.Revision = rev
	}
	parts := strings.SplitN(repo, "/", 3)
	if len(parts) < 2 {
		return bad("there is no /")
	}
	for _, p := range parts[:2] {
		if !part.MatchString(p) || strings.Contains(p, "--") || strings.Contains(p, "..") {
			return bad(fmt.Sprintf("%q can't be a part of a name", p))
		}
	}
	n.Repo = parts[0] + "/" + parts[1]
	if len(n.Repo) > 96 || strings.HasSuffix(n.Repo, ".git") {
		return bad("the name is longer than 96 letters, or ends in .git")
	}
	if len(parts) == 3 {
		if n.File = parts[2]; !validFile(n.File) {
			return bad("the file can't be one")
		}
	}
	return n, nil
}

// validFile reports whether a path of a repository stays in its folder on every system.
func validFile(file string) bool {
	return file != "." && fs.ValidPath(file) && len(file) < 1<<10 && !strings.ContainsAny(file, "\\:\x00")
}

func (n Name) String() string {
	s := n.Repo
	if n.File != "" {
		s += "/" + n.File
	}
	if n.Revision != defaultRevision {
		s += "@" + n.Revision
	}
	return s
}

// folder is the repository's in the cache.
func (n Name) folder() string { return "models--" + strings.ReplaceAll(n.Repo, "/", "--") }

// ErrNotCached is in the error of a model that the cache does not hold, or not all of.
var ErrNotCached = errors.New("not in the hub's cache")
