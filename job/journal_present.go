package job

import (
	"fmt"
	"os"
)

// Present reports, by an error, that the journal's file was removed or replaced while it is open: what is written to it
// then is lost with the process.
func (j *Journal) Present() error {
	now, err := os.Stat(j.path)
	if err == nil && os.SameFile(now, j.file) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("job: the journal %s was replaced by another file while it was open: start again", j.path)
	}
	return fmt.Errorf("job: the journal %s was removed while it was open: start again: %w", j.path, err)
}
