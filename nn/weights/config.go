package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// ParseConfig decodes the configuration of a component, the content of file, into dst, a pointer to a struct whose
// fields carry the file's keys in `json` tags. Keys that the file lacks leave their fields as they are, so dst is
// filled with the defaults before.
//
// A value that can't be used is an error, because a setting that is silently dropped gives wrong images. So are a
// key that occurs twice, a value of the wrong type, text after the object, and null for anything but pointers, slices,
// maps, interfaces (nil) and booleans (false, as Python tests them). JSON's numbers have one type: 4.0 is a whole
// number; and 0 and 1 are false and true. Names match exactly. Every key that cannot be used is reported, each as a
// [*ConfigError], joined by [errors.Join].
//
// A key that is neither a field nor in ignore, and does not start with "_", is unknown: diffusers and transformers
// ignore such keys with a warning. They are returned, sorted, for the caller to do the same.
func ParseConfig(data []byte, file string, dst any, ignore ...string) (unknown []string, err error) {
	members, err := parseObject(data, file)
	if err != nil {
		return nil, err
	}
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("ParseConfig(%s): dst is %T, not a pointer to a struct", file, dst)
	}
	fields := map[string]reflect.Value{}
	for _, f := range reflect.VisibleFields(v.Elem().Type()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" {
			fields[name] = v.Elem().FieldByIndex(f.Index)
		}
	}
	var problems []error
	for _, m := range members {
		field, known := fields[m.key]
		switch {
		case known:
			if err := setField(field, m.value); err != nil {
				problems = append(problems, &ConfigError{File: file, Key: m.key, Value: shortJSON(m.value), Allowed: err.Error()})
			}
		case strings.HasPrefix(m.key, "_"), slices.Contains(ignore, m.key):
		default:
			unknown = append(unknown, shorten(m.key))
		}
	}
	slices.Sort(unknown)
	return unknown, errors.Join(problems...)
}

// setField decodes a value into a field; the error says what the field takes. On error the field is unchanged.
func setField(field reflect.Value, value json.RawMessage) error {
	t := field.Type()
	fresh := reflect.New(t)
	custom := fresh.Type().Implements(reflect.TypeFor[json.Unmarshaler]())
	if bytes.Equal(value, []byte("null")) && !custom {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Bool:
			field.SetZero()
			return nil
		}
		return errors.New(describe(t))
	}
	if value = wholeNumbers(value); t.Kind() == reflect.Bool && (string(value) == "0" || string(value) == "1") {
		field.SetBool(string(value) == "1")
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	if err := dec.Decode(fresh.Interface()); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) && !custom {
			return errors.New(describe(t))
		}
		return fmt.Errorf("%s (%w)", describe(t), err)
	}
	if t.Kind() == reflect.Slice && bytes.Contains(value, []byte("null")) && hasNull(value) && !takesNull(t.Elem()) {
		return errors.New(describe(t)) // encoding/json makes a zero of it
	}
	field.Set(fresh.Elem())
	return nil
}

// wholeNumbers writes numbers without a fraction as integers, also in lists and objects: 4.0 and 4e0 become 4.
func wholeNumbers(value json.RawMessage) json.RawMessage {
	var any any
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	if dec.Decode(&any) != nil {
		return value
	}
	written, err := json.Marshal(whole(any))
	if err != nil {
		return value
	}
	return written
}

func whole(value any) any {
	switch v := value.(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
			return int64(f)
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = whole(v[key])
		}
	}
	return value
}

// hasNull reports whether a JSON list has the element null.
func hasNull(list json.RawMessage) bool {
	var elems []json.RawMessage
	return json.Unmarshal(list, &elems) == nil && slices.ContainsFunc(elems, func(e json.RawMessage) bool { return string(e) == "null" })
}

func takesNull(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return true
	}
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// describe says what JSON a Go type takes.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number from 0 on"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list, each entry " + describe(t.Elem())
	case reflect.Array:
		return fmt.Sprintf("a list of %d, each %s", t.Len(), describe(t.Elem()))
	case reflect.Pointer:
		return "null or " + describe(t.Elem())
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a value of " + t.String()
}

// shortJSON shows a value in an error, on one line.
func shortJSON(value json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return shorten(string(value))
	}
	return shorten(b.String())
}
