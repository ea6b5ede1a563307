package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hash is a text that can stand for the hash of a token.
func hash(digit string) string { return hashPrefix + strings.Repeat(digit, 64) }

func TestParse(t *testing.T) {
	anna, bert := NewToken(), NewToken()
	tokens, err := Parse([]byte("# who may what\n\n" +
		User{Name: "anna", Role: Use, ImagesPerDay: 200, Jobs: 4, Priority: -5}.Line(anna) + " # until May\r\n" +
		"\tb.ert@example-1_ admin " + strings.ToUpper(hash("a"))[:7] + "\n"))
	if err == nil {
		t.Fatalf("a cut hash: %v", tokens)
	}
	tokens, err = Parse([]byte("# who may what\n\n" +
		User{Name: "anna", Role: Use, ImagesPerDay: 200, Jobs: 4, Priority: -5}.Line(anna) + " # until May\r\n" +
		strings.Replace(User{Name: "b.ert@example-1_", Role: Admin, Priority: 100}.Line(bert), hashPrefix, hash("A")+","+hashPrefix, 1) + "\n" +
		"carl  use\t" + hash("1")))
	if err != nil {
		t.Fatal(err)
	}
	if tokens.Len() != 3 {
		t.Errorf("%d users", tokens.Len())
	}
	u := tokens.Find(anna)
	if u == nil || u != tokens.Named("anna") || u.Role != Use || u.ImagesPerDay != 200 || u.Jobs != 4 || u.Priority != -5 {
		t.Errorf("anna: %+v", u)
	}
	if u := tokens.Find(bert); u == nil || u.Name != "b.ert@example-1_" || u.Role != Admin || u.Priority != 100 || len(u.hashes) != 2 {
		t.Errorf("bert: %+v", u)
	}
	if u := tokens.Named("carl"); u == nil || u.Priority != 0 || u.ImagesPerDay != 0 || u.Jobs != 0 {
		t.Errorf("carl: %+v", u)
	}
	for _, wrong := range []string{"", NewToken(), anna[:len(anna)-1], anna + "x", strings.ToLower(anna), anna[len(tokenPrefix):], " " + anna, hash("1")} {
		if u := tokens.Find(wrong); u != nil {
			t.Errorf("%q is taken for %s's", wrong, u.Name)
		}
	}
	if tokens.Named("") != nil || tokens.Named("Anna") != nil {
		t.Error("a name that is not there")
	}
}

// Whatever a line says is there in the user that is read from it.
func TestLine(t *testing.T) {
	for _, u := range []User{
		{Name: "a", Role: Use}, {Name: "a", Role: Use, Priority: 100}, {Name: "a", Role: Admin, Priority: 100},
		{Name: "a", Role: Admin}, {Name: "a", Role: Use, ImagesPerDay: 1, Jobs: MostQuota, Priority: -100},
	} {
		token := NewToken()
		tokens, err := Parse([]byte(u.Line(token)))
		if err != nil {
			t.Fatal(err)
		}
		got := *tokens.Find(token)
		got.hashes = nil
		if fmt.Sprint(got) != fmt.Sprint(u) {
			t.Errorf("%s is %+v, want %+v", u.Line(token), got, u)
		}
		if strings.Contains(u.Line(token), token) {
			t.Errorf("the line has the token: %s", u.Line(token))
		}
	}
}

func TestParseRefuses(t *testing.T) {
	token := NewToken()
	for text, want := range map[string]string{
		"":                                   "it names nobody",
		"# nobody\n\n":                       "it names nobody",
		"anna use":                           "line 1: it has 2 words",
		"\n\nanna\n":                         "line 3: it has 1 words",
		"an/na use " + hash("1"):             `line 1: the name is "an/na": must have 1 to 64`,
		".a use " + hash("1"):                `the name is ".a"`,
		strings.Repeat("a", 65) + " use x":   "must have 1 to 64",
		"é use " + hash("1"):                 `the name is "é"`,
		"anna root " + hash("1"):             `line 1: the role is "root": must be use or admin`,
		"anna use 1234":                      `line 1: the hash is "1234": must be sha256: and 64 hexadecimal digits`,
		"anna use sha512:" + hash("1")[7:]:   "the hash is",
		"anna use " + hash("1") + "1":        "the hash is",
		"anna use " + hash("x"):              "the hash is",
		"anna use " + hash("1") + ",":        `the hash is ""`,
		"anna use " + token:                  `the hash is "a token itself"`,
		"a use " + hash("1") + " jobs":       `jobs is "": must be 1 to 1000000000`,
		"a use " + hash("1") + " jobs=0":     `jobs is "0"`,
		"a use " + hash("1") + " jobs=1e3":   `jobs is "1e3"`,
		"a use " + hash("1") + " speed=3":    `the limit is "speed": must be images-per-day, jobs or priority`,
		"a use " + hash("1") + " priority=x": `priority is "x": must be -100 to 100`,
		"a use " + hash("1") + " images-per-day=9999999999999999999":    "images-per-day is",
		"a use " + hash("1") + " jobs=1 jobs=2":                         "jobs is given twice",
		"a use " + hash("1") + "\nb use " + hash("2") + "\na use x":     "the hash is",
		"a use " + hash("1") + "\n\na use " + hash("2"):                 "line 3: the name is a, as in line 1",
		"a use " + hash("a") + "\nb use " + strings.ToUpper(hash("a")):  "line 2: the hash is",
		"a use " + hash("a") + "\nb use " + hash("b") + "," + hash("a"): "line 2: the hash of b is there before, in line 1",
		"a use " + hash("a") + "," + hash("a"):                          "the hash of a is there before, in line 1",
		strings.Repeat("#", mostBytes+1):                                "more than 4194304 bytes",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
	var many strings.Builder
	for i := range mostUsers + 1 {
		fmt.Fprintf(&many, "u%d use %s%064d\n", i, hashPrefix, i)
	}
	if _, err := Parse([]byte(many.String())); err == nil || !strings.Contains(err.Error(), "line 10001: there are more than 10000 users") {
		t.Errorf("too many: %v", err)
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	if _, err := ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.WriteFile(path, []byte("a use x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || !strings.HasPrefix(err.Error(), path+": line 1: the hash is") {
		t.Errorf("a bad line: %v", err)
	}
}

// FuzzParse: no text is more than refused, and what is read is within its bounds and found by its name.
func FuzzParse(f *testing.F) {
	f.Add("anna use " + hash("1") + " images-per-day=3 jobs=2 priority=-7\n")
	f.Add("# a\r\nops admin " + hash("1") + "," + hash("2") + " # b\n\n")
	f.Add("a use sha256:\x00")
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := Parse([]byte(text))
		if (err == nil) == (tokens == nil) {
			t.Fatalf("%v, %v", tokens, err)
		}
		if err != nil {
			return
		}
		for _, u := range tokens.users {
			if tokens.Named(u.Name) != u || CheckName(u.Name) != nil || len(u.hashes) == 0 || u.Role != Use && u.Role != Admin ||
				u.Jobs < 0 || u.ImagesPerDay < 0 || u.Priority < -100 || u.Priority > 100 {
				t.Errorf("%+v", u)
			}
		}
		if tokens.Find(text) != nil {
			t.Error("the text of a file is a token")
		}
	})
}

func BenchmarkFind(b *testing.B) {
	var many strings.Builder
	for i := range mostUsers {
		fmt.Fprintf(&many, "u%d use %s%064d\n", i, hashPrefix, i)
	}
	tokens, err := Parse([]byte(many.String()))
	if err != nil {
		b.Fatal(err)
	}
	token := NewToken()
	for b.Loop() {
		if tokens.Find(token) != nil {
			b.Fatal("found")
		}
	}
}
