package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Sessions stand for tokens in the cookies of browsers. A session is nothing that the server keeps: its value has the
// user's name and its end, signed. It ends too when the token that began it is no more in the file.
type Sessions struct{ key []byte }

const keyBytes = 32

// OpenSessions reads the key that sessions are signed with from a file, which nobody else may read, so that they outlive
// the process. It makes the file if it is missing, and anew if it has not the length of a key.
func OpenSessions(path string) (*Sessions, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == keyBytes {
		return &Sessions{key: key}, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = make([]byte, keyBytes)
	rand.Read(key)                                                                // never fails
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*") // of mode 0600
	if err != nil {
		return nil, err
	}
	_, err = f.Write(key)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the key of sessions %s: %w", path, err), os.Remove(f.Name()))
	}
	return &Sessions{key: key}, nil
}

// Begin gives the value of a session of a user, that its token begins. It ends at a time of whole seconds.
func (s *Sessions) Begin(u *User, token string, until time.Time) string {
	payload := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	payload = append(payload, u.Name...)
	mac := s.sign(payload, sha256.Sum256([]byte(token)))
	return base64.RawURLEncoding.EncodeToString(append(mac, payload...))
}

// sign is over the hash of the token too: without it there is no session.
func (s *Sessions) sign(payload []byte, hash [sha256.Size]byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("goxl session\x00"))
	mac.Write(hash[:])
	mac.Write(payload)
	return mac.Sum(nil)
}

// longestSession is how many bytes the value of a session has at most.
const longestSession = 256

// User returns the user of a session that has not ended, and its end; nil where there is none.
func (s *Sessions) User(t *Tokens, value string, now time.Time) (*User, time.Time) {
	if len(value) > longestSession {
		return nil, time.Time{}
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(data) < sha256.Size+8 {
		return nil, time.Time{}
	}
	mac, payload := data[:sha256.Size], data[sha256.Size:]
	u := t.Named(string(payload[8:]))
	if u == nil {
		return nil, time.Time{}
	}
	signed := false
	for _, hash := range u.hashes {
		signed = hmac.Equal(mac, s.sign(payload, hash)) || signed
	}
	until := time.Unix(int64(binary.BigEndian.Uint64(payload)), 0)
	if !signed || !now.Before(until) {
		return nil, time.Time{}
	}
	return u, until
}
