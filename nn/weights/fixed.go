package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// RequireFixed checks the options of a component's configuration that change its numbers and that goxl computes in one way only: each key of
// fixed that the file has must have one of the values listed (nil for null, float64 for numbers). The file's _class_name, if it has one, must be class. Every
// key that differs is reported, each as a [*ConfigError], joined by [errors.Join].
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
		if reflect.DeepEqual(v, value) {
			return true
		}
	}
	return false
}

// list shows values as JSON has them, joined by "or".
func list(values []any) string {
	shown := make([]string, len(values))
	for i, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			text = fmt.Append(nil, v)
		}
		shown[i] = string(text)
	}
	return strings.Join(shown, " or ")
}
