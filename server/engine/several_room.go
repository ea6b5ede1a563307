package engine

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
)

// makeRoom closes the models that were not used for longest until there is room for m. It waits for jobs that still use
// one, which have been computed. The caller has the token.
func (s *Several) makeRoom(ctx context.Context, m *kept) error {
	for {
		s.mu.Lock()
		var sum int64
		var oldest *kept
		for _, other := range s.models {
			if other.engine == nil {
				continue
			}
			sum += other.Bytes
			if oldest == nil || other.used < oldest.used {
				oldest = other
			}
		}
		if oldest == nil || s.config.Memory == 0 || sum+m.Bytes <= s.config.Memory {
			s.mu.Unlock()
			return nil
		}
		busy, freed, e := oldest.jobs > 0, s.freed, oldest.engine
		if !busy {
			oldest.engine = nil
		}
		s.mu.Unlock()
		if busy {
			select {
			case <-freed:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		s.config.Log.Info("model closed to make room", slog.String("model", oldest.Name), slog.String("for", m.Name))
		if err := e.Close(); err != nil {
			s.config.Log.Warn("closing a model", slog.String("model", oldest.Name), slog.String("error", err.Error()))
		}
	}
}

// foreign is an error without the folder that its model lies in.
type foreign struct {
	error
	folder string
}

// within lets an error name files by where they lie in a folder.
func within(err error, folder string) error {
	if folder == "" {
		return err
	}
	return foreign{err, strings.TrimSuffix(filepath.Join(folder, "x"), "x")}
}

func (e foreign) Error() string { return strings.ReplaceAll(e.error.Error(), e.folder, "") }

func (e foreign) Unwrap() error { return e.error }
