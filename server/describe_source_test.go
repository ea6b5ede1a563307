package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

// readers are the methods by which parsers read a field whose name is their first argument.
var readers = []string{
	"text", "optionalText", "choice", "scheduler", "integer", "seed", "readSeed", "wholeNumber", "number", "optionalNumber", "items", "numbers", "pair",
	"boolean", "loras", "priority", "given", "isList", "sdImage", "sdFiles", "eventNumber", "object", "objects", "border", "blockScales", "controlMode",
	"preprocessor",
}

// What the source reads by a name in quotes is in the document: no branch of a parser is left out by the probes.
func TestDocumentFields(t *testing.T) {
	b := newBench(t, nil)
	d, _ := described(t, b)
	known := map[string]bool{"n": true}
	for _, methods := range d.Paths {
		for _, op := range methods {
			for _, p := range op.Parameters {
				known[strings.ToLower(p.Name)] = true
			}
			if op.Body == nil {
				continue
			}
			for _, m := range op.Body.Content {
				eachField(m.Schema, func(name string, of *jsonschema.Schema) {
					if known[name] = true; strings.HasPrefix(of.Description, strangeMembers) {
						t.Errorf("%s: %s: %s", op.ID, name, of.Description)
					}
				})
			}
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(readers, method.Sel.Name) {
				return true
			}
			if name := literal(call.Args[0]); name != "" {
				if found++; !known[name] {
					t.Errorf("%s: the field %q of %s is in no body of the document: no probe leads there", file, name, method.Sel.Name)
				}
			}
			return true
		})
	}
	if found < 60 {
		t.Errorf("%d fields were found in the source", found)
	}
}

// eachField calls a function with every field of a body, and those of objects in it.
func eachField(s *jsonschema.Schema, do func(name string, of *jsonschema.Schema)) {
	if s == nil {
		return
	}
	for name, of := range s.Properties {
		do(name, of)
		for _, form := range append([]*jsonschema.Schema{of}, of.AnyOf...) {
			eachField(form, do)
			if form.Items != nil {
				do(name, form.Items)
				eachField(form.Items, do)
			}
		}
	}
}

// literal is a name in quotes, or that of a constant; "" is none.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		name, err := strconv.Unquote(e.Value)
		if err == nil {
			return name
		}
	case *ast.Ident:
		if e.Obj == nil || e.Obj.Kind != ast.Con {
			return ""
		}
		spec, ok := e.Obj.Decl.(*ast.ValueSpec)
		for i, id := range spec.Names {
			if ok && id.Name == e.Name && i < len(spec.Values) {
				return literal(spec.Values[i])
			}
		}
	}
	return ""
}
