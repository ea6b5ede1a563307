package auth

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSessions(t *testing.T) {
	anna, bert, old := NewToken(), NewToken(), NewToken()
	line := User{Name: "anna", Role: Use}.Line(old) + "," + strings.Fields(User{Name: "x", Role: Use}.Line(anna))[2]
	tokens, err := Parse([]byte(line + "\n" + User{Name: "bert", Role: Admin}.Line(bert)))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "session.key")
	s, err := OpenSessions(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != keyBytes {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	now := time.Unix(1_800_000_000, 5)
	until := now.Add(time.Hour).Truncate(time.Second)
	value := s.Begin(tokens.Named("anna"), anna, until)
	if u, end := s.User(tokens, value, now); u != tokens.Named("anna") || !end.Equal(until) {
		t.Errorf("%v until %v", u, end)
	}
	if u, _ := s.User(tokens, value, until.Add(-time.Nanosecond)); u == nil {
		t.Error("it ends too early")
	}
	if u, _ := s.User(tokens, value, until); u != nil {
		t.Error("it goes on after its end")
	}
	again, err := OpenSessions(path) // by the next process
	if err != nil {
		t.Fatal(err)
	}
	if u, _ := again.User(tokens, value, now); u == nil {
		t.Error("it does not outlive the process")
	}
	// Without its token in the file, the user of that name has the session no more.
	fewer, err := Parse([]byte(User{Name: "anna", Role: Use}.Line(old)))
	if err != nil {
		t.Fatal(err)
	}
	if u, _ := s.User(fewer, value, now); u != nil {
		t.Error("it outlives its token")
	}
	without, err := Parse([]byte(User{Name: "bert", Role: Use}.Line(anna)))
	if err != nil {
		t.Fatal(err)
	}
	if u, _ := s.User(without, value, now); u != nil {
		t.Errorf("it is %s's, whose token is the same", u.Name)
	}
	// No byte of it can be another.
	data, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		forged := append([]byte(nil), data...)
		forged[i] ^= 1
		if u, _ := s.User(tokens, base64.RawURLEncoding.EncodeToString(forged), now); u != nil {
			t.Errorf("byte %d was changed", i)
		}
	}
	forged := append(append([]byte(nil), data[:len(data)-4]...), "bert"...)
	for _, bad := range []string{"", "x", value[:len(value)-1], value + "A", base64.RawURLEncoding.EncodeToString(forged), strings.Repeat("A", 300), "!" + value} {
		if u, _ := s.User(tokens, bad, now); u != nil {
			t.Errorf("%.20q is %s's", bad, u.Name)
		}
	}
	// Another key, and one that a power cut left short.
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := OpenSessions(path)
	if err != nil {
		t.Fatal(err)
	}
	if u, _ := other.User(tokens, value, now); u != nil {
		t.Error("another key signed it")
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 {
		t.Errorf("files: %v, %v", entries, err)
	}
	if _, err := OpenSessions(filepath.Join(folder, "none", "key")); err == nil {
		t.Error("a folder that is not there")
	}
	if _, err := OpenSessions(folder); err == nil {
		t.Error("a folder in place of the key")
	}
}
