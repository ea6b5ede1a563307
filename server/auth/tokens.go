// Package auth knows who may use a server, by tokens: what their file says, how they are compared, the sessions of
// browsers, and how often an address may be wrong.
//
// The file has one line for each user:
//
//	# name  role  hash of the token, or several with commas  limits
//	anna    use   sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  images-per-day=200 jobs=4
//	ops     admin sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
//
// A token is 256 random bits ([NewToken]), so its SHA-256 is all that is kept: bcrypt and its like are slow on purpose,
// to make guesses of a password dear, and among 2^256 tokens there is nothing to guess. What has not the form of a
// token is never compared, so that nobody can put the hash of a password into the file.
package auth

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/goxl/goxl/job"
)

// Role is what a user may do.
type Role string

// The roles.
const (
	Use   Role = "use"   // has jobs, and sees no others than its own
	Admin Role = "admin" // sees and cancels all jobs, and reads the metrics of the server
)

// User is who has a token.
type User struct {
	Name string
	Role Role

	ImagesPerDay int // of a day of UTC; 0 is no limit
	Jobs         int // that wait or are computed at once; 0 is no limit
	Priority     int // the highest of its jobs; 0 unless the file says another, and 100 for Admin

	hashes [][sha256.Size]byte
}

// Tokens are the users of a file.
type Tokens struct {
	users  []*User
	byName map[string]*User
}

const (
	mostBytes = 4 << 20 // of a file
	mostUsers = 10_000  // each is compared with each token that comes: 10,000 take less than a millisecond
)

// MostQuota is the largest limit of images and jobs.
const MostQuota = 1_000_000_000

// ReadFile reads a file of tokens. Its errors name the line.
func ReadFile(path string) (*Tokens, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err != nil {
		return nil, err
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Parse reads the text of a file of tokens.
func Parse(data []byte) (*Tokens, error) {
	if len(data) > mostBytes {
		return nil, fmt.Errorf("it has more than %d bytes", mostBytes)
	}
	t := &Tokens{byName: map[string]*User{}}
	lines, hashes := map[string]int{}, map[[sha256.Size]byte]int{}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text, _, _ := bytes.Cut(line, []byte("#"))
		words := strings.Fields(string(text))
		if len(words) == 0 {
			continue
		}
		u, err := parseUser(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if before, twice := lines[u.Name]; twice {
			return nil, fmt.Errorf("line %d: the name is %s, as in line %d: must be another; a user of several tokens has their hashes in one line, with commas between them", n, u.Name, before)
		}
		lines[u.Name] = n
		for _, h := range u.hashes {
			if before, twice := hashes[h]; twice {
				return nil, fmt.Errorf("line %d: the hash of %s is there before, in line %d", n, u.Name, before)
			}
			hashes[h] = n
		}
		if len(t.users) == mostUsers {
			return nil, fmt.Errorf("line %d: there are more than %d users", n, mostUsers)
		}
		t.users = append(t.users, u)
		t.byName[u.Name] = u
	}
	if len(t.users) == 0 {
		return nil, fmt.Errorf("it names nobody: must have a line NAME ROLE HASH for each user, as \"server token NAME\" prints")
	}
	return t, nil
}

var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// CheckName is the error of a name that no user can have.
func CheckName(s string) error {
	if !name.MatchString(s) {
		return fmt.Errorf("the name is %.80q: must have 1 to 64 letters, digits and ._@-, of which a letter or digit is the first", s)
	}
	return nil
}

const hashPrefix = "sha256:"

func parseUser(words []string) (*User, error) {
	u := &User{Name: words[0]}
	if err := CheckName(u.Name); err != nil {
		return nil, err
	}
	if len(words) < 3 {
		return nil, fmt.Errorf("it has %d words: must be NAME ROLE HASH and limits", len(words))
	}
	var err error
	if u.Role, err = ParseRole(words[1]); err != nil {
		return nil, err
	}
	if u.Role == Admin {
		u.Priority = job.MaxPriority
	}
	for text := range strings.SplitSeq(words[2], ",") {
		digits, ok := strings.CutPrefix(text, hashPrefix)
		hash, err := hex.DecodeString(digits)
		if !ok || err != nil || len(hash) != sha256.Size {
			if IsToken(text) {
				text = "a token itself" // errors are logged
			}
			return nil, fmt.Errorf("the hash is %.80q: must be %s and %d hexadecimal digits", text, hashPrefix, 2*sha256.Size)
		}
		u.hashes = append(u.hashes, [sha256.Size]byte(hash))
	}
	given := map[string]bool{}
	for _, word := range words[3:] {
		key, value, _ := strings.Cut(word, "=")
		if given[key] {
			return nil, fmt.Errorf("%s is given twice", key)
		}
		given[key] = true
		if err := u.SetLimit(key, value); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// ParseRole reads the word of a role.
func ParseRole(s string) (Role, error) {
	if r := Role(s); r == Use || r == Admin {
		return r, nil
	}
	return "", fmt.Errorf("the role is %.80q: must be use or admin", s)
}

// SetLimit sets one of the limits of a line: images-per-day, jobs or priority.
func (u *User) SetLimit(key, value string) error {
	into, least, most := &u.ImagesPerDay, 1, MostQuota
	switch key {
	case "images-per-day":
	case "jobs":
		into = &u.Jobs
	case "priority":
		into, least, most = &u.Priority, job.MinPriority, job.MaxPriority
	default:
		return fmt.Errorf("the limit is %.80q: must be images-per-day, jobs or priority", key)
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return fmt.Errorf("%s is %.80q: must be %d to %d", key, value, least, most)
	}
	*into = n
	return nil
}

// Find returns the user of a token, nil if there is none. It compares the hash with every one that there is, each in
// constant time.
func (t *Tokens) Find(token string) (found *User) {
	if !IsToken(token) {
		return nil
	}
	hash := sha256.Sum256([]byte(token))
	for _, u := range t.users {
		for i := range u.hashes {
			if subtle.ConstantTimeCompare(hash[:], u.hashes[i][:]) == 1 {
				found = u
			}
		}
	}
	return found
}

// Named returns the user of a name, nil if there is none.
func (t *Tokens) Named(name string) *User { return t.byName[name] }

// Len is how many users there are.
func (t *Tokens) Len() int { return len(t.users) }
