package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// RequireFixed checks the options of a component's configuration that change its results and for which goxl supports
// some values only: each key of fixed that the file has must have one of the values listed: nil for null, float64 for
// numbers, and []any{v} for a list of any length with the entry v; null and 0 count as false, as Python tests them. The
// file's _class_name, if it has one, must be class. Every key that differs is reported, each as a [*ConfigError],
// joined by [errors.Join].
func RequireFixed(data []byte, file, class string, fixed map[string][]any) error {
	members, err := parseObject(data, file)
	if err != nil {
		return err
	}
	var problems []error
	for _, m := range members {
		allowed, known := fixed[m.key]
		if m.key == "_class_name" {
			allowed, known = []any{class}, true
		}
		if !known {
			continue
		}
		var value any
		if err := json.Unmarshal(m.value, &value); err != nil {
			return err
		}
		if !contains(allowed, value) {
			problems = append(problems, &ConfigError{File: file, Key: m.key, Value: shortJSON(m.value), Allowed: list(allowed)})
		}
	}
	return errors.Join(problems...)
}

func contains(values []any, value any) bool {
	for _, v := range values {
		if matches(v, value) {
			return true
		}
	}
	return false
}

func matches(want, value any) bool {
	switch want := want.(type) {
	case bool:
		return value == want || !want && (value == nil || value == 0.)
	case []any:
		list, ok := value.([]any)
		return ok && !slices.ContainsFunc(list, func(entry any) bool { return !matches(want[0], entry) })
	}
	return reflect.DeepEqual(want, value)
}

// list shows values as JSON has them, joined by "or".
func list(values []any) string {
	shown := make([]string, len(values))
	for i, v := range values {
		if entries, ok := v.([]any); ok {
			shown[i] = "a list of " + list(entries)
			continue
		}
		text, err := json.Marshal(v)
		if err != nil {
			text = fmt.Append(nil, v)
		}
		shown[i] = string(text)
	}
	return strings.Join(shown, " or ")
}
