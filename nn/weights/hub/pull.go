package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/goxl/goxl/nn/weights"
)

// Ensure returns what Find does, and pulls what the cache lacks. Offline that is an error.
func (c *Client) Ensure(ctx context.Context, n Name, v weights.Variant) (string, error) {
	path, err := c.find(n, v)
	if err == nil || !errors.Is(err, ErrNotCached) {
		return path, err
	}
	if c.Offline {
		return "", fmt.Errorf("%w, without HF_HUB_OFFLINE", err)
	}
	return c.Pull(ctx, n, v)
}

// Pull downloads what the cache lacks of a model's revision as the server has it now, or of a file, and returns where it
// is: the snapshot's folder, or the file. Where there are several variants of the weights, v chooses, or none. A download that
// ended early goes on where it was; what is complete is not asked for again.
func (c *Client) Pull(ctx context.Context, n Name, v weights.Variant) (string, error) {
	if c.Offline {
		return "", fmt.Errorf("%s: HF_HUB_OFFLINE is set: nothing is downloaded", n)
	}
	l, err := c.list(ctx, n)
	if err != nil {
		return "", err
	}
	r := c.repo(n)
	d := &download{Client: c, name: n, repo: r, commit: l.Commit, meter: &meter{Progress: Progress{Name: n}, call: c.Progress, now: time.Now}}
	byPath := map[string]file{}
	var paths []string
	for _, f := range l.Files {
		byPath[f.Path] = f
		paths = append(paths, f.Path)
	}
	want := []string{n.File}
	if n.File == "" {
		want, err = choose(paths, v, func() ([]byte, error) {
			if err := d.file(ctx, byPath[weights.IndexFile]); err != nil {
				return nil, err
			}
			return os.ReadFile(r.file(l.Commit, weights.IndexFile))
		})
		if err != nil {
			return "", fmt.Errorf("%s: %w", n, err)
		}
	} else if !slices.Contains(paths, n.File) {
		return "", fmt.Errorf("%s: the repository has no file %s: %w", n, n.File, ErrNotFound)
	}
	var files []file
	for _, path := range want {
		files = append(files, byPath[path])
	}
	if err := d.all(ctx, files); err != nil {
		return "", err
	}
	if err := r.setCommit(n.Revision, l.Commit); err != nil {
		return "", err
	}
	return c.find(n, v)
}
