package weights

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// SHA256 is the hash of the file's content in lower-case hexadecimal, as model sites list it. It reads the whole file.
func (f *File) SHA256() (string, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return "", fmt.Errorf("%s: %w", f.path, ErrClosed)
	}
	sum := sha256.Sum256(f.data)
	return hex.EncodeToString(sum[:]), nil
}
