package remote

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// onDisk refuses a folder in memory, which a restart of the machine empties.
func onDisk(folder string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return fmt.Errorf("remote: the folder of the embedded NATS server %s: %w", folder, err)
	}
	if int64(s.Type) == unix.TMPFS_MAGIC || int64(s.Type) == unix.RAMFS_MAGIC {
		return fmt.Errorf("remote: the folder of the embedded NATS server %s is in memory: must be on a disk", folder)
	}
	return nil
}
