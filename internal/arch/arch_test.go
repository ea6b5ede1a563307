package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	modulePath = "github.com/goxl/goxl"
	root       = "../.."
	maxLines   = 330
	maxColumns = 120 // of prose and comments
)

// file is one Go file of the tree, whatever its build tags.
type file struct {
	name    string // slash-separated, from the root
	imports []string
	syntax  *ast.File
}

func (f file) pkg() string  { return path.Dir(f.name) }
func (f file) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// names lists the files of the tree, without what git ignores or what belongs to git and other tools.
func names(t *testing.T) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == "build" || name == "images" || d.Name() == "__pycache__"):
			return fs.SkipDir
		case d.Type().IsRegular() && name != ".git": // which is a file in a second working tree
			all = append(all, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("%d files below %s: must be the whole tree", len(all), root)
	}
	return all
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	for _, name := range names(t) {
		if path.Ext(name) != ".go" {
			continue
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), name, read(t, name), parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		f := file{name: name, syntax: syntax}
		for _, spec := range syntax.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			f.imports = append(f.imports, p)
		}
		files = append(files, f)
	}
	return files
}

// covers reports whether the map has path p or something above it.
func covers(allowed map[string]string, p string) bool {
	for ; p != "."; p = path.Dir(p) {
		if allowed[p] != "" {
			return true
		}
	}
	return false
}

// refusal says why a package may not import p, or nothing.
func refusal(pkg string, isTest bool, p string) string {
	r := table[pkg]
	if !isTest {
		for wall, who := range only {
			if (p == wall || strings.HasPrefix(p, wall+"/")) && !slices.Contains(who, pkg) {
				return "only " + strings.Join(who, ", ") + " may"
			}
		}
	}
	if p == "C" {
		return "there is no cgo here"
	}
	first, _, _ := strings.Cut(p, "/")
	if !strings.Contains(first, ".") {
		return "" // the standard library
	}
	if own, isOwn := strings.CutPrefix(p, modulePath+"/"); isOwn {
		if isTest || r.own[own] != "" { // tests may import every package
			return ""
		}
	} else if covers(r.outside, p) || isTest && covers(testOutside, p) {
		return ""
	}
	return "it is not in the package's table"
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range goFiles(t) {
		seen[f.pkg()] = true
		if _, ok := table[f.pkg()]; !ok {
			t.Errorf("%s: package %s is not in the table of internal/arch", f.name, f.pkg())
			continue
		}
		for _, p := range f.imports {
			if why := refusal(f.pkg(), f.isTest(), p); why != "" {
				t.Errorf("%s imports %s: %s", f.name, p, why)
			}
		}
	}
	for pkg := range table {
		if !seen[pkg] {
			t.Errorf("the table has %s, which does not exist", pkg)
		}
	}
}

// TestNothingIsAllowedInVain wants every import that the table allows to be there: of this module outside of tests, of
// others in them too.
func TestNothingIsAllowedInVain(t *testing.T) {
	used := map[string]bool{}
	for _, f := range goFiles(t) {
		for _, p := range f.imports {
			own, isOwn := strings.CutPrefix(p, modulePath+"/")
			if isOwn && f.isTest() {
				continue
			}
			for ; own != "."; own = path.Dir(own) { // outside, a path covers what lies below it
				used[f.pkg()+" "+own] = true
			}
		}
	}
	for pkg, r := range table {
		for _, allowed := range []map[string]string{r.own, r.outside} {
			for p := range allowed {
				if !used[pkg+" "+p] {
					t.Errorf("the table lets %s import %s, which it does not", pkg, p)
				}
			}
		}
	}
}

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		pkg, path string
		isTest    bool
		refused   bool
	}{
		{"models/unet", modulePath + "/nn", false, false},
		{"models/unet", modulePath + "/kernels/cpu", false, true},
		{"models/unet", modulePath + "/kernels/cpu", true, false},
		{"nn", "gorgonia.org/gorgonia", false, false},
		{"nn", "gorgonia.org/gorgoniac", false, true},
		{"server", "gorgonia.org/tensor/native", false, true},
		{"kernels", modulePath + "/nn", false, true},
		{"kernels/cpu", "golang.org/x/sys/unix", false, true},
		{"tokenizer", "golang.org/x/text/unicode/norm", false, false},
		{"tokenizer", "github.com/google/go-cmp/cmp", false, true},
		{"tokenizer", "github.com/google/go-cmp/cmp", true, false},
		{"cmd/goxl", "C", false, true},
	} {
		if got := refusal(c.pkg, c.isTest, c.path) != ""; got != c.refused {
			t.Errorf("%s imports %s (test %v): refused %v, want %v", c.pkg, c.path, c.isTest, got, c.refused)
		}
	}
}

func TestPackageComments(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range goFiles(t) {
		documented[f.pkg()] = documented[f.pkg()] || !f.isTest() && f.syntax.Doc != nil
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

// generated is the line that marks a generated file (https://go.dev/s/generatedcode).
var generated = regexp.MustCompile(`(?m)^// Code generated by (.+?)[;.] DO NOT EDIT\.?$`)

func TestFileLength(t *testing.T) {
	for _, name := range names(t) {
		if !slices.Contains([]string{".go", ".s", ".h", ".cu", ".py"}, path.Ext(name)) {
			continue
		}
		data := read(t, name)
		lines := bytes.Count(data, []byte("\n"))
		if lines > maxLines && longFiles[name] == "" && !generated.Match(data) {
			t.Errorf("%s has %d lines: at most %d, one subject a file", name, lines, maxLines)
		}
		if lines <= maxLines && longFiles[name] != "" {
			t.Errorf("%s has %d lines and needs no exception", name, lines)
		}
	}
}

// TestPackageCommentWidth keeps package comments within the width at which the tree's prose wraps.
func TestPackageCommentWidth(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.isTest() || f.syntax.Doc == nil {
			continue
		}
		for line := range strings.SplitSeq(string(read(t, f.name)), "\n") {
			if strings.HasPrefix(line, "package ") {
				break
			}
			if n := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")); n > maxColumns {
				t.Errorf("%s has a line of %d columns in its package comment: at most %d\n%s", f.name, n, maxColumns, line)
			}
		}
	}
}

// TestGenerated wants each generated file to name a generator that is in the tree.
func TestGenerated(t *testing.T) {
	for _, name := range names(t) {
		if ext := path.Ext(name); ext != ".go" && ext != ".s" || strings.Contains(name, "/_gen/") {
			continue
		}
		match := generated.FindSubmatch(read(t, name))
		if match == nil {
			continue
		}
		found := false
		for _, word := range strings.Fields(string(match[1])) {
			if !strings.Contains(word, "/") {
				continue
			}
			for _, base := range []string{".", path.Dir(name)} {
				_, err := os.Stat(filepath.Join(root, base, word))
				found = found || err == nil
			}
		}
		if !found {
			t.Errorf("%s is generated by %q: must name a generator in the tree by its path", name, match[1])
		}
	}
}

// TestWords refuses what does not belong into the tree: work left undone, and paths of somebody's machine.
func TestWords(t *testing.T) {
	refused := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|HA` + `CK)\b|(^|[\s"'(=])/(wo` + `rk|ro` + `ot|ho` + `me)/\w`)
	for _, name := range names(t) {
		data := read(t, name)
		if strings.Contains(name, "testdata/") || bytes.IndexByte(data, 0) >= 0 {
			continue
		}
		for i, line := range strings.Split(string(data), "\n") {
			if word := refused.FindString(line); word != "" {
				t.Errorf("%s:%d: %q does not belong into the tree", name, i+1, word)
			}
		}
	}
}
