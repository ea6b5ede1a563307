package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/goxl/goxl/job"
)

// tokenPrefix lets people, and programs that search for secrets, see what a token is.
const tokenPrefix = "goxl_"

const tokenBytes = 32 // that are random

// NewToken makes a token of 256 random bits.
func NewToken() string {
	secret := make([]byte, tokenBytes)
	rand.Read(secret) // never fails
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
}

// IsToken reports whether a text has the form of a token.
func IsToken(s string) bool {
	encoded, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok || len(encoded) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	return err == nil
}

// Line is the line of a file for a user of one token.
func (u User) Line(token string) string {
	hash := sha256.Sum256([]byte(token))
	line := fmt.Sprintf("%s %s %s%s", u.Name, u.Role, hashPrefix, hex.EncodeToString(hash[:]))
	if u.ImagesPerDay > 0 {
		line += fmt.Sprintf(" images-per-day=%d", u.ImagesPerDay)
	}
	if u.Jobs > 0 {
		line += fmt.Sprintf(" jobs=%d", u.Jobs)
	}
	if own := map[Role]int{Admin: job.MaxPriority}[u.Role]; u.Priority != own {
		line += fmt.Sprintf(" priority=%d", u.Priority)
	}
	return line
}
