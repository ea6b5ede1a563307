package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goxl/goxl/nn/weights"
)

// repo is a repository's folder in the cache.
type repo struct {
	cache, folder string // folder is relative to cache
}

func (c *Client) repo(n Name) repo { return repo{c.Cache, n.folder()} }

func (r repo) path(elem ...string) string {
	return filepath.Join(append([]string{r.cache, r.folder}, elem...)...)
}

func (r repo) blob(hash string) string { return r.path("blobs", hash) }

func (r repo) lock(hash string) string {
	return filepath.Join(r.cache, ".locks", r.folder, hash+".lock")
}

// file is where a snapshot has a file.
func (r repo) file(commit, path string) string {
	return r.path("snapshots", commit, filepath.FromSlash(path))
}

// commit is the one that a revision was at when it was last downloaded; "" if it never was.
func (r repo) commit(revision string) string {
	if commit.MatchString(revision) {
		return revision
	}
	data, err := os.ReadFile(r.path("refs", filepath.FromSlash(revision)))
	if err != nil || !commit.MatchString(strings.TrimSpace(string(data))) {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// setCommit writes a ref, all at once.
func (r repo) setCommit(revision, to string) error {
	if revision == to || r.commit(revision) == to {
		return nil
	}
	path := r.path("refs", filepath.FromSlash(revision))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteString(to)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// link gives a blob its name in a snapshot: a relative link, or the blob itself where there are no links.
func (r repo) link(commit, path, hash string) error {
	to := r.file(commit, path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(to), r.blob(hash))
	if err != nil {
		return err
	}
	if now, err := os.Readlink(to); err == nil && now == target {
		return nil
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) { // a link to something else, or to nothing
		return err
	}
	if err := os.Symlink(target, to); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return os.Rename(r.blob(hash), to)
}

// size is a file's in a snapshot; −1 if it is not there.
func (r repo) size(commit, path string) int64 {
	info, err := os.Stat(r.file(commit, path))
	if err != nil || !info.Mode().IsRegular() {
		return -1
	}
	return info.Size()
}

// files lists what a snapshot holds.
func (r repo) files(commit string) (paths []string, err error) {
	root := r.path("snapshots", commit)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() { // not a link to nothing
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			paths = append(paths, filepath.ToSlash(rel))
		}
		return nil
	})
	return paths, err
}

// Find returns where the cache has a model, its snapshot's folder, or a file, without asking the server. A model that it
// has not, or not all of, is an error with ErrNotCached.
func (c *Client) Find(n Name) (string, error) { return c.find(n, weights.Variant{}) }

// FindSettings is Find of a model of which the weights may be missing.
func (c *Client) FindSettings(n Name) (string, error) { return c.find(n, weights.Variant{None: true}) }

// find is Find of a variant of the weights by its name; "" is any.
func (c *Client) find(n Name, v weights.Variant) (string, error) {
	r := c.repo(n)
	missing := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("%s is %w (%s): %s; goxl pull %s downloads it", n, ErrNotCached, c.Cache, fmt.Sprintf(why, args...), n)
	}
	at := r.commit(n.Revision)
	if at == "" {
		return missing("there is no ref %s", n.Revision)
	}
	if n.File != "" {
		if r.size(at, n.File) < 0 {
			return missing("snapshot %s has no such file", at)
		}
		return r.file(at, n.File), nil
	}
	paths, err := r.files(at)
	if errors.Is(err, fs.ErrNotExist) {
		return missing("there is no snapshot %s", at)
	}
	if err != nil {
		return "", err
	}
	want, err := choose(paths, weights.Variant{Name: v.Name, None: v.None}, func() ([]byte, error) { return os.ReadFile(r.file(at, weights.IndexFile)) })
	if err != nil {
		return missing("snapshot %s: %v", at, err)
	}
	if len(want) == 1 && want[0] != weights.IndexFile {
		return r.file(at, want[0]), nil
	}
	return r.path("snapshots", at), nil
}
