package nn

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// pathOf is a module's path in the checkpoint, without a dot at its end: the name of its first parameter, as Bind gave
// it, less what that is called within the module. It is empty for the root, and false for a module that was not bound.
func pathOf(module any) (string, bool) {
	p, within := firstParam(reflect.ValueOf(module))
	if p == nil || p.name == "" {
		return "", false
	}
	return strings.TrimSuffix(strings.TrimSuffix(p.name, within), "."), true
}

// firstParam finds a parameter of a module and its name there; see walk for the grammar.
func firstParam(v reflect.Value) (p *Param, name string) {
	if p, ok := v.Interface().(*Param); ok {
		return p, ""
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return firstParam(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			if p, name := firstParam(v.Index(i)); p != nil {
				return p, join(strconv.Itoa(i), name)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			tag, ok := v.Type().Field(i).Tag.Lookup("weight")
			if !ok {
				continue
			}
			if p, name := firstParam(v.Field(i)); p != nil {
				return p, strings.TrimSuffix(join(tag, name), ".")
			}
		}
	}
	return nil, ""
}

// checkPattern refuses a pattern of module paths that can match nothing.
func checkPattern(pattern string) error {
	for part := range strings.SplitSeq(pattern, ".") {
		if _, err := path.Match(part, ""); err != nil || part == "" || part != "**" && strings.Contains(part, "**") {
			return fmt.Errorf("tap path %q: must be a module's path, such as mid_block.attentions.0, whose parts may be "+
				"patterns of path.Match or ** for any number of parts", pattern)
		}
	}
	return nil
}

// matchPath reports whether a pattern matches the whole of a module's path. Each part between dots is a pattern of
// path.Match; the part ** is any number of parts, none included.
func matchPath(pattern, modulePath string) bool {
	return matchParts(strings.Split(pattern, "."), strings.Split(modulePath, "."))
}

func matchParts(patterns, parts []string) bool {
	patterns = slices.CompactFunc(patterns, func(a, b string) bool { return a == "**" && b == "**" })
	for i, pattern := range patterns {
		if pattern == "**" {
			for skip := i; skip <= len(parts); skip++ {
				if matchParts(patterns[i+1:], parts[skip:]) {
					return true
				}
			}
			return false
		}
		if i >= len(parts) {
			return false
		}
		if ok, err := path.Match(pattern, parts[i]); err != nil || !ok {
			return false
		}
	}
	return len(patterns) == len(parts)
}
